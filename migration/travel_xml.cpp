// SPDX-License-Identifier: LGPL-2.1-or-later
#include "migration/travel_xml.h"

#include "domain/host.h"

namespace godwit::migration {

using base::Result;
using domain::Host;

Result<std::string> travelXml(domain::Domain &domain, const std::string &replacement)
{
    constexpr unsigned format = VIR_DOMAIN_DEF_FORMAT_SECURE | VIR_DOMAIN_DEF_FORMAT_MIGRATABLE;
    Host &host = domain.host();
    if (replacement.empty())
        return std::string(TRY(host.format(domain.def(), format)).get());
    conf::DomainDef def = TRY(host.parse(replacement.c_str(), VIR_DOMAIN_DEF_PARSE_INACTIVE));
    conf::DomainDef own(virDomainDefCopy(domain.def(), host.xmlOption(), nullptr, true));
    if (!own || !virDomainDefCheckABIStability(own.get(), def.get(), host.xmlOption()))
        return conf::takeLibvirtError();
    return std::string(TRY(host.format(def.get(), format)).get());
}

} // namespace godwit::migration
