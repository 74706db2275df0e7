// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/job.h"
#include "domain/lifecycle.h"
#include "driver/api.h"
#include "driver/connection.h"
#include "driver/entry.h"
#include "migration/image.h"

namespace godwit::driver {

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::tr;
using domain::Domain;
using domain::Job;

static constexpr unsigned createFlags = VIR_DOMAIN_START_PAUSED | VIR_DOMAIN_START_AUTODESTROY |
                                        VIR_DOMAIN_START_BYPASS_CACHE | VIR_DOMAIN_START_FORCE_BOOT |
                                        VIR_DOMAIN_START_VALIDATE;

/// The domain ends when its connection does (virDomainCreate's AUTODESTROY).
static void destroyOnClose(virDomainObj *object, virConnectPtr)
{
    Domain closed = Domain::borrow(object);
    // Not here: it takes its time, and this may be the daemon's main thread.
    closed.host().background().run([reference = conf::ObjectRef<virDomainObj>::share(object),
                                    incarnation = closed.data().events] {
        Domain domain = Domain::lock(reference.get());
        auto job = Job::begin(domain, VIR_JOB_DESTROY);
        if (job && domain.active() && domain.data().events == incarnation)
            (void)domain::destroyDomain(domain, false, VIR_DOMAIN_SHUTOFF_DESTROYED,
                                        VIR_DOMAIN_EVENT_STOPPED_DESTROYED).has_value();
    });
}

static Result<virDomainPtr> createXml(virConnectPtr connection, const char *xml, unsigned flags)
{
    TRY(checkFlags(flags, createFlags));
    unsigned parseFlags = VIR_DOMAIN_DEF_PARSE_INACTIVE;
    if (flags & VIR_DOMAIN_START_VALIDATE)
        parseFlags |= VIR_DOMAIN_DEF_PARSE_VALIDATE_SCHEMA;
    auto def = TRY(hostOf(connection).parse(xml, parseFlags));
    TRY(conf::check(virDomainCreateXMLEnsureACL(connection, def.get())));
    Domain domain = TRY(domain::addDomain(hostOf(connection), std::move(def),
                                          VIR_DOMAIN_OBJ_LIST_ADD_LIVE | VIR_DOMAIN_OBJ_LIST_ADD_CHECK_LIVE));
    Result<void> started = [&]() -> Result<void> {
        auto job = TRY(Job::begin(domain, VIR_JOB_MODIFY));
        return domain::startDomain(domain, flags & VIR_DOMAIN_START_PAUSED);
    }();
    if (!started) {
        domain::dropLiveDefinition(domain);
        return std::move(started).error();
    }
    if (flags & VIR_DOMAIN_START_AUTODESTROY)
        virCloseCallbacksDomainAdd(domain.object(), connection, destroyOnClose);
    return conf::check(virGetDomain(connection, domain.def()->name, domain.def()->uuid, domain.def()->id));
}

static Result<void> createWithFlags(virDomainPtr handle, unsigned flags)
{
    TRY(checkFlags(flags, createFlags));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainCreateWithFlagsEnsureACL>(handle, domain));
    migration::StartOptions options;
    options.paused = flags & VIR_DOMAIN_START_PAUSED;
    options.forceBoot = flags & VIR_DOMAIN_START_FORCE_BOOT;
    options.bypassCache = flags & VIR_DOMAIN_START_BYPASS_CACHE;
    TRY(migration::startPersistent(domain, options));
    if (flags & VIR_DOMAIN_START_AUTODESTROY)
        virCloseCallbacksDomainAdd(domain.object(), handle->conn, destroyOnClose);
    handle->id = domain.def()->id;
    return {};
}

static Result<void> create(virDomainPtr handle)
{
    return createWithFlags(handle, 0);
}

static Result<void> suspend(virDomainPtr handle)
{
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainSuspendEnsureACL>(handle, domain));
    auto job = TRY(Job::begin(domain, VIR_JOB_SUSPEND));
    auto guest = TRY(domain.guest());
    const bool migrating = domain.object()->job->asyncJob == VIR_ASYNC_JOB_MIGRATION_OUT;
    if (domain.state() == VIR_DOMAIN_PAUSED)
        return {};
    TRY(domain.unlocked([&] { return guest->pause(hypervisor::StopCause::User); }));
    TRY(domain.requireActive());
    if (migrating)
        domain.setState(VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_MIGRATION, VIR_DOMAIN_EVENT_SUSPENDED,
                        VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED);
    else
        domain.setState(VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_USER, VIR_DOMAIN_EVENT_SUSPENDED,
                        VIR_DOMAIN_EVENT_SUSPENDED_PAUSED);
    return {};
}

static Result<void> resume(virDomainPtr handle)
{
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainResumeEnsureACL>(handle, domain));
    auto job = TRY(Job::begin(domain, VIR_JOB_MODIFY));
    auto guest = TRY(domain.guest());
    if (domain.state() == VIR_DOMAIN_RUNNING)
        return {};
    // One that was sent has yielded them: who has them now runs it.
    TRY(domain.host().services().holdLeases(domain));
    TRY(domain.unlocked([&] { return guest->unpause(); }));
    TRY(domain.requireActive());
    domain::forgetMigration(domain);
    domain.setState(VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_UNPAUSED, VIR_DOMAIN_EVENT_RESUMED,
                    VIR_DOMAIN_EVENT_RESUMED_UNPAUSED);
    return {};
}

static Result<void> shutdownFlags(virDomainPtr handle, unsigned flags)
{
    TRY(checkFlags(flags, VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainShutdownFlagsEnsureACL>(handle, domain, flags));
    auto job = TRY(Job::begin(domain, VIR_JOB_MODIFY));
    auto guest = TRY(domain.guest());
    TRY(domain.unlocked([&] { return guest->shutdown(); }));
    domain.saveStatus();   // it is not to come back, as reboot() has it
    return {};
}

static Result<void> shutdown(virDomainPtr handle)
{
    return shutdownFlags(handle, 0);
}

static Result<void> reboot(virDomainPtr handle, unsigned flags)
{
    TRY(checkFlags(flags, VIR_DOMAIN_REBOOT_ACPI_POWER_BTN));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainRebootEnsureACL>(handle, domain, flags));
    auto job = TRY(Job::begin(domain, VIR_JOB_MODIFY));
    auto guest = TRY(domain.guest());
    TRY(domain.unlocked([&] { return guest->reboot(); }));
    domain.saveStatus();   // whoever takes it up brings it back
    return {};
}

static Result<void> reset(virDomainPtr handle, unsigned flags)
{
    TRY(checkFlags(flags, 0));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainResetEnsureACL>(handle, domain));
    auto job = TRY(Job::begin(domain, VIR_JOB_MODIFY));
    auto guest = TRY(domain.guest());
    return domain.unlocked([&] { return guest->reset(); });
}

static Result<void> destroyFlags(virDomainPtr handle, unsigned flags)
{
    TRY(checkFlags(flags, VIR_DOMAIN_DESTROY_GRACEFUL));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainDestroyFlagsEnsureACL>(handle, domain));
    TRY(domain.requireActive());
    // A transfer under way ends before the guest does: its job need not be waited out.
    if (auto guest = domain.data().guest)
        (void)guest->abortTransfer().has_value();
    auto job = TRY(Job::begin(domain, VIR_JOB_DESTROY));
    TRY(domain::destroyDomain(domain, flags & VIR_DOMAIN_DESTROY_GRACEFUL, VIR_DOMAIN_SHUTOFF_DESTROYED,
                              VIR_DOMAIN_EVENT_STOPPED_DESTROYED));
    handle->id = -1;
    return {};
}

static Result<void> destroy(virDomainPtr handle)
{
    return destroyFlags(handle, 0);
}

void fillLifecycleApi(virHypervisorDriver &table)
{
    table.domainCreateXML = entry<createXml>;
    table.domainCreate = entry<create>;
    table.domainCreateWithFlags = entry<createWithFlags>;
    table.domainSuspend = entry<suspend>;
    table.domainResume = entry<resume>;
    table.domainShutdown = entry<shutdown>;
    table.domainShutdownFlags = entry<shutdownFlags>;
    table.domainReboot = entry<reboot>;
    table.domainReset = entry<reset>;
    table.domainDestroy = entry<destroy>;
    table.domainDestroyFlags = entry<destroyFlags>;
}

} // namespace godwit::driver
