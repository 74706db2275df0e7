// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/config_change.h"

#include "base/i18n.h"
#include "conf/handle.h"
#include "domain/host.h"

namespace godwit::driver {

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::tr;
using domain::Domain;

Result<AffectedDefs> affectedDefs(const Domain &domain, unsigned flags)
{
    AffectedDefs defs;
    TRY(conf::check(virDomainObjGetDefs(domain.object(), flags, &defs.live, &defs.config)));
    return defs;
}

Result<virDomainDef *> affectedDef(const Domain &domain, unsigned flags)
{
    return conf::check(virDomainObjGetOneDef(domain.object(), flags));
}

Result<void> changeConfig(Domain &domain, const DefChange &change)
{
    domain::Host &host = domain.host();
    virDomainObj *object = domain.object();
    virDomainDef *current = object->newDef ? object->newDef : object->def;
    conf::DomainDef copy(virDomainDefCopy(current, host.xmlOption(), nullptr, false));
    if (!copy)
        return conf::takeLibvirtError();
    TRY(change(copy.get()));
    TRY(conf::check(virDomainDefPostParse(copy.get(), VIR_DOMAIN_DEF_PARSE_INACTIVE, host.xmlOption(), nullptr)));
    TRY(conf::check(virDomainDefValidate(copy.get(), VIR_DOMAIN_DEF_PARSE_INACTIVE, host.xmlOption(), nullptr)));
    TRY(conf::check(virDomainDefSave(copy.get(), host.xmlOption(), host.settings().configDir.c_str())));
    virDomainDef *given = copy.release();
    virDomainObjAssignDef(object, &given, false, nullptr);
    return {};
}

Result<void> requirePersistent(const Domain &domain)
{
    if (!domain.persistent())
        return makeError(ErrorCode::OperationInvalid, tr("domain '%s' is transient: it has no persistent definition"),
                         domain.def()->name);
    return {};
}

} // namespace godwit::driver
