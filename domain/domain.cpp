// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/domain.h"

#include "base/i18n.h"
#include "base/log.h"
#include "domain/guest_events.h"
#include "domain/host.h"

namespace godwit::domain {

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::tr;

static base::Error noDomain(const char *format, const char *what)
{
    base::Error error{ErrorCode::NoDomain, {}};
    error.message = format;
    error.message += what;
    return error;
}

Result<Domain> Domain::byUuid(Host &host, const unsigned char *uuid, const char *name)
{
    if (virDomainObj *object = virDomainObjListFindByUUID(host.domains(), uuid))
        return Domain(object);
    char text[VIR_UUID_STRING_BUFLEN];
    virUUIDFormat(uuid, text);
    std::string what = text;
    if (name)
        what += std::string(" (") + name + ")";
    return noDomain(tr("no domain with UUID "), what.c_str());
}

Result<Domain> Domain::byName(Host &host, const char *name)
{
    if (virDomainObj *object = virDomainObjListFindByName(host.domains(), name))
        return Domain(object);
    return noDomain(tr("no domain with name "), name);
}

Result<Domain> Domain::byId(Host &host, int id)
{
    if (virDomainObj *object = virDomainObjListFindByID(host.domains(), id))
        return Domain(object);
    return noDomain(tr("no domain with ID "), std::to_string(id).c_str());
}

Domain Domain::lock(virDomainObj *object)
{
    virObjectLock(virObjectRef(object));
    return Domain(object);
}

Result<void> Domain::requireActive() const
{
    if (!active())
        return makeError(ErrorCode::OperationInvalid, tr("domain '%s' is not running"), def()->name);
    return {};
}

Result<void> Domain::requireInactive() const
{
    if (active())
        return makeError(ErrorCode::OperationInvalid, tr("domain '%s' is already running"), def()->name);
    return {};
}

Result<std::shared_ptr<hypervisor::Guest>> Domain::guest() const
{
    TRY(requireActive());
    if (!data().guest)
        return makeError(ErrorCode::OperationInvalid, tr("domain '%s' is still being started"), def()->name);
    return data().guest;
}

void Domain::setState(virDomainState newState, int reason, int event, int detail)
{
    const bool changed = state() != newState;
    virDomainObjSetState(object_, newState, reason);
    if (changed)
        queueLifecycle(event, detail);
    saveStatus();
    if (newState == VIR_DOMAIN_RUNNING)
        tellStop(*this);
}

void Domain::queueLifecycle(int event, int detail) const
{
    host().queueEvent(virDomainEventLifecycleNewFromObj(object_, event, detail));
}

void Domain::saveStatus() const
{
    if (!active())
        return;
    if (virDomainObjSave(object_, host().xmlOption(), host().settings().stateDir.c_str()) < 0)
        log(base::LogLevel::Warning, "domain '%s': cannot write its status file: %s", def()->name,
            conf::takeLibvirtError().message.c_str());
}

void Domain::remove()
{
    virDomainObjListRemove(host().domains(), object_);
}

} // namespace godwit::domain
