// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/lifecycle.h"

#include "base/i18n.h"
#include "base/log.h"
#include "base/rollback.h"
#include "domain/guest_events.h"
#include "domain/host.h"
#include "domain/job.h"

#include <filesystem>

namespace godwit::domain {

using base::ErrorCode;
using base::LogLevel;
using base::makeError;
using base::Result;
using base::Rollback;
using base::systemError;
using base::tr;
using hypervisor::CreateRequest;
using hypervisor::Guest;

/// Ask the network driver for what each <interface type='network'> really is.
static Result<void> allocateNetworks(virDomainDef *def)
{
    for (size_t i = 0; i < def->nnets; i++) {
        if (def->nets[i]->type != VIR_DOMAIN_NET_TYPE_NETWORK)
            continue;
        auto connection = conf::ObjectRef<virConnect>::adopt(TRY(conf::check(virGetConnectNetwork())));
        TRY(conf::check(virDomainNetAllocateActualDevice(connection.get(), def, def->nets[i])));
    }
    return {};
}

static void releaseNetworks(virDomainDef *def)
{
    for (size_t i = 0; i < def->nnets; i++) {
        if (def->nets[i]->type != VIR_DOMAIN_NET_TYPE_NETWORK)
            continue;
        auto connection = conf::ObjectRef<virConnect>::adopt(virGetConnectNetwork());
        if (!connection || virDomainNetReleaseActualDevice(connection.get(), def, def->nets[i]) < 0)
            log(LogLevel::Warning, "domain '%s': cannot give back a network port: %s", def->name,
                conf::takeLibvirtError().message.c_str());
    }
}

static void removeTree(const std::string &path)
{
    std::error_code failed;
    std::filesystem::remove_all(path, failed);
    if (failed)
        log(LogLevel::Warning, "cannot remove '%s': %s", path.c_str(), failed.message().c_str());
}

void releaseImage(Domain &domain)
{
    const std::string image = std::exchange(domain.data().usedImage, {});
    if (!image.empty() && ::unlink(image.c_str()) < 0 && errno != ENOENT)
        log(LogLevel::Warning, "%s", systemError(errno, "cannot remove '%s'", image.c_str()).message.c_str());
}

void forgetMigration(Domain &domain)
{
    PrivateData &data = domain.data();
    if (data.phase != MigrationPhase::Perform && data.phase != MigrationPhase::Performed)
        return;
    data.phase = MigrationPhase::None;
    const MigrationLink link = std::exchange(data.link, {});
    if (!link.secret.empty())
        domain.host().sourceEnded(link);
}

/// Everything about a domain that only an active one has, undone.
static void deactivate(Domain &domain)
{
    virDomainObj *object = domain.object();
    Services &services = domain.host().services();
    services.stopped(domain);
    releaseNetworks(domain.def());
    removeTree(domain.host().guestDir(domain.def()));
    const std::string status = domain.host().settings().stateDir + "/" + domain.def()->name + ".xml";
    if (::unlink(status.c_str()) < 0 && errno != ENOENT)
        log(LogLevel::Warning, "%s", systemError(errno, "cannot remove '%s'", status.c_str()).message.c_str());
    releaseImage(domain);
    PrivateData &data = domain.data();
    forgetMigration(domain);
    data.guest.reset();
    data.events.reset();
    data.status.reset();
    data.phase = MigrationPhase::None;
    data.persistentXml.clear();
    data.link = {};
    data.ownStop.reset();
    data.witness.reset();
    services.released(domain);
    domain.def()->id = -1;
    virDomainObjRemoveTransientDef(object);
    domain.host().domainEnded();
}

/// Everything before the guest itself: live definition, number, networks, directory.
static Result<CreateRequest> activate(Domain &domain)
{
    virDomainObj *object = domain.object();
    Host &host = domain.host();
    if (virDomainObjSetDefTransient(host.xmlOption(), object, nullptr) < 0)
        return conf::takeLibvirtError();
    domain.def()->id = host.newDomainId();
    host.domainStarted();
    virDomainObjSetState(object, VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_STARTING_UP);
    Rollback rollback;
    rollback.onFailure([&] {
        deactivate(domain);
        virDomainObjSetState(object, VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_FAILED);
    });

    TRY(host.hypervisor().assignAliases(domain.def()));
    TRY(host.services().prepare(domain));
    TRY(allocateNetworks(domain.def()));
    TRY(host.services().takeDevices(domain));
    CreateRequest request;
    request.def = domain.def();
    request.runDir = host.guestDir(domain.def());
    request.logPath = host.logPath(domain.def());
    if (g_mkdir_with_parents(request.runDir.c_str(), 0700) < 0)
        return systemError(errno, tr("cannot create directory '%s'"), request.runDir.c_str());
    domain.data().events = std::make_shared<GuestEvents>(domain);
    request.listener = domain.data().events;
    TRY(host.services().aboutToStart(domain));
    rollback.commit();
    return request;
}

/// The guest exists: make it the domain's.
static Result<void> install(Domain &domain, std::shared_ptr<Guest> guest)
{
    TRY(guest->describe(domain.def()));
    domain.object()->pid = guest->pid();
    domain.data().guest = std::move(guest);
    domain.saveStatus();
    return {};
}

Result<void> destroyGuest(Domain &domain, const std::shared_ptr<Guest> &guest, bool graceful)
{
    auto events = std::exchange(domain.data().events, nullptr);
    auto gone = domain.unlocked([&] { return guest->destroy(graceful); });
    if (!gone && domain.data().guest == guest)
        domain.data().events = std::move(events);
    return gone;
}

static void abandon(Domain &domain, const std::shared_ptr<Guest> &guest)
{
    if (guest) {
        if (auto gone = destroyGuest(domain, guest, false); !gone)
            log(LogLevel::Error, "domain '%s': cannot end its guest: %s", domain.def()->name,
                gone.error().message.c_str());
    }
    if (domain.active()) {
        deactivate(domain);
        virDomainObjSetState(domain.object(), VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_FAILED);
    }
}

Result<void> startDomain(Domain &domain, bool paused)
{
    TRY(domain.requireInactive());
    CreateRequest request = TRY(activate(domain));
    std::shared_ptr<Guest> guest;
    Rollback rollback;
    rollback.onFailure([&] { abandon(domain, guest); });

    guest = TRY(domain.unlocked([&] { return domain.host().hypervisor().create(std::move(request)); }));
    TRY(install(domain, guest));
    TRY(launchReceived(domain, paused, {}));
    rollback.commit();
    return {};
}

Result<void> receiveDomain(Domain &domain, hypervisor::ReceiveRequest request)
{
    TRY(domain.requireInactive());
    request.guest = TRY(activate(domain));
    std::shared_ptr<Guest> guest;
    Rollback rollback;
    rollback.onFailure([&] { abandon(domain, guest); });

    virDomainObjSetState(domain.object(), VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_MIGRATION);
    domain.data().phase = MigrationPhase::Receive;
    guest = TRY(domain.unlocked([&] { return domain.host().hypervisor().receive(std::move(request)); }));
    TRY(install(domain, guest));
    rollback.commit();
    return {};
}

Result<void> launchReceived(Domain &domain, bool paused, const StartReason &reason)
{
    std::shared_ptr<Guest> guest = TRY(domain.guest());
    TRY(guest->describe(domain.def()));
    // If this process ends in between, the next one must know that the guest may have run.
    if (domain.data().phase == MigrationPhase::Receive) {
        domain.data().phase = MigrationPhase::Launch;
        domain.saveStatus();
    }
    TRY(domain.host().services().aboutToRun(domain));
    if (!paused)
        TRY(domain.unlocked([&] { return guest->unpause(); }));
    TRY(domain.requireActive());
    domain.queueLifecycle(VIR_DOMAIN_EVENT_STARTED, reason.startedDetail);
    if (paused) {
        virDomainObjSetState(domain.object(), VIR_DOMAIN_PAUSED, reason.pausedReason);
        domain.queueLifecycle(VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_PAUSED);
    } else {
        virDomainObjSetState(domain.object(), VIR_DOMAIN_RUNNING, reason.runningReason);
    }
    domain.data().phase = MigrationPhase::None;
    domain.data().link = {};
    domain.saveStatus();
    if (!paused)
        tellStop(domain);
    return {};
}

void endDomain(Domain &domain, int shutoffReason, int stoppedDetail)
{
    if (!domain.active())
        return;
    deactivate(domain);
    virDomainObjSetState(domain.object(), VIR_DOMAIN_SHUTOFF, shutoffReason);
    domain.queueLifecycle(VIR_DOMAIN_EVENT_STOPPED, stoppedDetail);
    if (!domain.persistent())
        domain.remove();
}

void dropLiveDefinition(Domain &domain)
{
    if (domain.active())
        return;
    virDomainObjRemoveTransientDef(domain.object());
    if (!domain.persistent() && !domain.object()->removing)
        domain.remove();
}

Result<void> destroyDomain(Domain &domain, bool graceful, int shutoffReason, int stoppedDetail)
{
    TRY(domain.requireActive());
    if (std::shared_ptr<Guest> guest = domain.data().guest)
        TRY(destroyGuest(domain, guest, graceful));
    endDomain(domain, shutoffReason, stoppedDetail);
    return {};
}

void keepLaunched(Domain &domain)
{
    domain.data().phase = MigrationPhase::None;
    domain.data().link = {};
    domain.setState(VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_MIGRATED, VIR_DOMAIN_EVENT_RESUMED,
                    VIR_DOMAIN_EVENT_RESUMED_MIGRATED);
}

/// A guest that goes on changes its disks: no image that was whole just before its save was
/// interrupted may be started from.
static void dropStaleSave(Domain &domain)
{
    const std::string path = domain.host().savePath(domain.def());
    if (::unlink(path.c_str()) < 0 && errno != ENOENT) {
        log(LogLevel::Warning, "%s", systemError(errno, "cannot remove '%s'", path.c_str()).message.c_str());
        return;
    }
    domain.object()->hasManagedSave = false;
}

/// Put right what a transfer was at when the process that cared for it ended. The helper
/// has ended with it, so nothing moves any more.
static Result<void> settleTransfer(Domain &domain, const std::shared_ptr<Guest> &guest)
{
    int reason = 0;
    const bool wasSaving = domain.state(&reason) == VIR_DOMAIN_PAUSED && reason == VIR_DOMAIN_PAUSED_SAVE;
    const MigrationPhase phase = domain.data().phase;
    // What the two sides must talk about is migration's (migration/recovery.h).
    const bool receiving = phase == MigrationPhase::Receive || phase == MigrationPhase::Launch;
    if (phase == MigrationPhase::Performed || (receiving && domain.data().link.port))
        return {};
    if (phase == MigrationPhase::Launch && guest->running()) {
        keepLaunched(domain);
        return {};
    }
    domain.data().phase = MigrationPhase::None;   // the link stays: recovery.h gives it up
    if (receiving) {
        // Not whole: its memory is where it came from.
        return destroyDomain(domain, false, VIR_DOMAIN_SHUTOFF_FAILED, VIR_DOMAIN_EVENT_STOPPED_FAILED);
    }
    const bool sending = phase == MigrationPhase::Begin || phase == MigrationPhase::Perform;
    if (!wasSaving && !(sending && domain.data().ranBeforeMigration)) {
        domain.saveStatus();
        return {};
    }
    if (wasSaving)
        dropStaleSave(domain);
    const auto resumed = domain.unlocked([&] { return guest->resume(hypervisor::ResumeMode::Fast); });
    TRY(domain.requireActive());
    if (!resumed) {
        domain.setState(VIR_DOMAIN_PAUSED, wasSaving ? VIR_DOMAIN_PAUSED_SAVE : VIR_DOMAIN_PAUSED_MIGRATION,
                        VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_API_ERROR);
        return resumed.error();
    }
    const int running = wasSaving ? VIR_DOMAIN_RUNNING_SAVE_CANCELED : VIR_DOMAIN_RUNNING_MIGRATION_CANCELED;
    domain.setState(VIR_DOMAIN_RUNNING, running, VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_UNPAUSED);
    return {};
}

void adoptDomain(Domain &domain)
{
    PrivateData &data = domain.data();
    auto job = Job::begin(domain, VIR_JOB_MODIFY);
    if (!job || !data.status)
        return;
    CreateRequest request;
    request.def = domain.def();
    request.runDir = domain.host().guestDir(domain.def());
    request.logPath = domain.host().logPath(domain.def());
    const auto events = std::make_shared<GuestEvents>(domain);
    request.listener = data.events = events;
    auto status = std::move(data.status);
    auto guest = domain.unlocked([&] { return domain.host().hypervisor().adopt(std::move(request), *status); });
    if (guest) {
        if (!(*guest)->memoryPending())
            releaseImage(domain);
        auto settled = install(domain, *guest);
        domain.host().services().reconnected(domain);
        if (settled)
            settled = settleTransfer(domain, *guest);
        if (!settled)
            log(LogLevel::Warning, "domain '%s': %s", domain.def()->name, settled.error().message.c_str());
        return;
    }
    const bool poweredOff = domain.state() == VIR_DOMAIN_SHUTDOWN || events->poweredOff();
    log(poweredOff ? LogLevel::Info : LogLevel::Warning, "domain '%s': %s", domain.def()->name,
        guest.error().message.c_str());
    endDomain(domain, poweredOff ? VIR_DOMAIN_SHUTOFF_SHUTDOWN : VIR_DOMAIN_SHUTOFF_CRASHED,
              poweredOff ? VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN : VIR_DOMAIN_EVENT_STOPPED_CRASHED);
}

Result<Domain> addDomain(Host &host, conf::DomainDef def, unsigned listFlags, conf::DomainDef *previous)
{
    virDomainDef *given = def.get();
    virDomainDef *replaced = nullptr;
    virDomainObj *object = virDomainObjListAdd(host.domains(), &given, host.xmlOption(), listFlags,
                                               previous ? &replaced : nullptr);
    // The list has taken the definition, if it succeeded.
    if (!given)
        (void)def.release();
    if (!object)
        return conf::takeLibvirtError();
    if (previous)
        previous->reset(replaced);
    return Domain(object);
}

} // namespace godwit::domain
