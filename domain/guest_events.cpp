// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/guest_events.h"

#include "base/i18n.h"
#include "base/log.h"
#include "base/strprintf.h"
#include "domain/host.h"
#include "domain/job.h"
#include "domain/lifecycle.h"

namespace godwit::domain {

using base::strprintf;
using base::tr;
using hypervisor::DeathCause;
using hypervisor::StopCause;

GuestEvents::GuestEvents(const Domain &domain) : host_(domain.host())
{
    std::copy_n(domain.def()->uuid, uuid_.size(), uuid_.begin());
}

void GuestEvents::later(std::function<void(Domain &)> handle)
{
    host_.post([self = shared_from_this(), handle = std::move(handle)] {
        auto domain = Domain::byUuid(self->host_, self->uuid_.data());
        if (domain && domain->data().events == self)
            handle(*domain);
    });
}

/// libvirt's words for a stop that nobody asked for: state reason and event detail.
static std::pair<int, int> describeStop(StopCause cause)
{
    switch (cause) {
    case StopCause::IoError: return {VIR_DOMAIN_PAUSED_IOERROR, VIR_DOMAIN_EVENT_SUSPENDED_IOERROR};
    case StopCause::Watchdog: return {VIR_DOMAIN_PAUSED_WATCHDOG, VIR_DOMAIN_EVENT_SUSPENDED_WATCHDOG};
    case StopCause::Panicked: return {VIR_DOMAIN_PAUSED_CRASHED, VIR_DOMAIN_EVENT_SUSPENDED_PAUSED};
    case StopCause::ShuttingDown: return {VIR_DOMAIN_PAUSED_SHUTTING_DOWN, VIR_DOMAIN_EVENT_SUSPENDED_PAUSED};
    case StopCause::User:
    case StopCause::Saving:
    case StopCause::Migrating:
    case StopCause::Rebooting:
    case StopCause::Unknown: break;
    }
    return {VIR_DOMAIN_PAUSED_UNKNOWN, VIR_DOMAIN_EVENT_SUSPENDED_PAUSED};
}

void GuestEvents::guestPaused(StopCause cause)
{
    // Who asked for it sets the state; and a reboot is one event, guestReset().
    if (cause == StopCause::User || cause == StopCause::Saving || cause == StopCause::Migrating ||
        cause == StopCause::Rebooting)
        return;
    later([cause](Domain &domain) {
        domain.data().ownStop = cause;
        // Whoever lets it run may not have said so yet, or will say it again: then this is told after it.
        if (domain.state() == VIR_DOMAIN_RUNNING)
            tellStop(domain);
    });
}

void tellStop(Domain &domain)
{
    auto &cause = domain.data().ownStop;
    if (!cause || !domain.data().guest)
        return;
    if (domain.data().guest->running())   // it has been resumed since
        return cause.reset();
    const auto [reason, detail] = describeStop(*cause);
    domain.setState(VIR_DOMAIN_PAUSED, reason, VIR_DOMAIN_EVENT_SUSPENDED, detail);
}

void GuestEvents::guestRunning()
{
    later([](Domain &domain) {
        int reason = 0;
        domain.data().ownStop.reset();
        if (domain.state(&reason) != VIR_DOMAIN_PAUSED || !domain.data().guest || !domain.data().guest->running())
            return;
        const bool byItself = reason == VIR_DOMAIN_PAUSED_IOERROR || reason == VIR_DOMAIN_PAUSED_WATCHDOG ||
                              reason == VIR_DOMAIN_PAUSED_CRASHED || reason == VIR_DOMAIN_PAUSED_UNKNOWN;
        if (byItself)
            domain.setState(VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_UNPAUSED, VIR_DOMAIN_EVENT_RESUMED,
                            VIR_DOMAIN_EVENT_RESUMED_UNPAUSED);
    });
}

void GuestEvents::guestReset()
{
    later([](Domain &domain) {
        // What the guest knows of itself may be new (on Xen its number is).
        if (domain.data().guest && !domain.data().guest->describe(domain.def()))
            log(base::LogLevel::Warning, "domain '%s' rebooted and cannot be described", domain.def()->name);
        domain.saveStatus();
        domain.host().queueEvent(virDomainEventRebootNewFromObj(domain.object()));
    });
}

void GuestEvents::guestShuttingDown()
{
    poweredOff_ = true;
    later([](Domain &domain) {
        domain.setState(VIR_DOMAIN_SHUTDOWN, VIR_DOMAIN_SHUTDOWN_UNKNOWN, VIR_DOMAIN_EVENT_SHUTDOWN,
                        VIR_DOMAIN_EVENT_SHUTDOWN_GUEST);
    });
}

/// libvirt's words for an end: shutoff reason and event detail.
static std::pair<int, int> describeDeath(DeathCause cause)
{
    switch (cause) {
    case DeathCause::PoweredOff: return {VIR_DOMAIN_SHUTOFF_SHUTDOWN, VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN};
    case DeathCause::Destroyed: return {VIR_DOMAIN_SHUTOFF_DESTROYED, VIR_DOMAIN_EVENT_STOPPED_DESTROYED};
    case DeathCause::Crashed: return {VIR_DOMAIN_SHUTOFF_CRASHED, VIR_DOMAIN_EVENT_STOPPED_CRASHED};
    case DeathCause::Failed: break;
    }
    return {VIR_DOMAIN_SHUTOFF_FAILED, VIR_DOMAIN_EVENT_STOPPED_FAILED};
}

void GuestEvents::guestDied(DeathCause cause)
{
    later([cause](Domain &domain) {
        // Whoever holds an asynchronous job (a save, a migration) settles it as part of that.
        if (domain.object()->job->asyncJob == VIR_ASYNC_JOB_MIGRATION_IN)
            return;
        const auto [reason, detail] = describeDeath(cause);
        endDomain(domain, reason, detail);
    });
}

void GuestEvents::balloonChanged(uint64_t kib)
{
    later([kib](Domain &domain) {
        if (domain.def()->mem.cur_balloon == kib)
            return;
        domain.def()->mem.cur_balloon = kib;
        domain.saveStatus();
        domain.host().queueEvent(virDomainEventBalloonChangeNewFromObj(domain.object(), kib));
    });
}

static virDomainDiskDef *diskByAlias(const Domain &domain, const std::string &alias)
{
    for (size_t i = 0; i < domain.def()->ndisks; i++) {
        virDomainDiskDef *disk = domain.def()->disks[i];
        if (disk->info.alias && alias == disk->info.alias)
            return disk;
    }
    return nullptr;
}

void GuestEvents::ioError(const std::string &alias, bool paused, const std::string &reason)
{
    later([=](Domain &domain) {
        virDomainDiskDef *disk = diskByAlias(domain, alias);
        const char *source = disk && disk->src->path ? disk->src->path : "";
        const int action = paused ? VIR_DOMAIN_EVENT_IO_ERROR_PAUSE : VIR_DOMAIN_EVENT_IO_ERROR_REPORT;
        if (paused && domain.data().abortOnIoError && domain.data().guest)
            (void)domain.data().guest->abortTransfer(strprintf(tr("an I/O error of disk '%s' stopped the guest"),
                                                               disk ? disk->dst : alias.c_str())).has_value();
        Host &host = domain.host();
        host.queueEvent(virDomainEventIOErrorNewFromObj(domain.object(), source, alias.c_str(), action));
        host.queueEvent(virDomainEventIOErrorReasonNewFromObj(domain.object(), source, alias.c_str(), action,
                                                              reason.c_str()));
    });
}

void GuestEvents::imageError(const std::string &path, const std::string &reason)
{
    later([=](Domain &domain) {
        Host &host = domain.host();
        constexpr int action = VIR_DOMAIN_EVENT_IO_ERROR_PAUSE;
        host.queueEvent(virDomainEventIOErrorNewFromObj(domain.object(), path.c_str(), "", action));
        host.queueEvent(virDomainEventIOErrorReasonNewFromObj(domain.object(), path.c_str(), "", action,
                                                              reason.c_str()));
    });
}

void GuestEvents::memoryComplete()
{
    later([](Domain &domain) {
        releaseImage(domain);
        domain.saveStatus();
    });
}

void GuestEvents::watchdogFired(const std::string &action)
{
    later([action](Domain &domain) {
        const int known = virDomainWatchdogActionTypeFromString(action.c_str());
        domain.host().queueEvent(virDomainEventWatchdogNewFromObj(domain.object(), known < 0 ? 0 : known));
    });
}

void GuestEvents::clockChanged(int64_t offsetSeconds)
{
    later([offsetSeconds](Domain &domain) {
        domain.host().queueEvent(virDomainEventRTCChangeNewFromObj(domain.object(), offsetSeconds));
    });
}

void GuestEvents::trayMoved(const std::string &alias, bool open)
{
    later([=](Domain &domain) {
        const int reason = open ? VIR_DOMAIN_EVENT_TRAY_CHANGE_OPEN : VIR_DOMAIN_EVENT_TRAY_CHANGE_CLOSE;
        if (virDomainDiskDef *disk = diskByAlias(domain, alias)) {
            disk->tray_status = open ? VIR_DOMAIN_DISK_TRAY_OPEN : VIR_DOMAIN_DISK_TRAY_CLOSED;
            domain.saveStatus();
        }
        domain.host().queueEvent(virDomainEventTrayChangeNewFromObj(domain.object(), alias.c_str(), reason));
    });
}

void GuestEvents::channelStateChanged(const std::string &alias, bool open)
{
    later([=](Domain &domain) {
        const auto state = open ? VIR_DOMAIN_CHR_DEVICE_STATE_CONNECTED : VIR_DOMAIN_CHR_DEVICE_STATE_DISCONNECTED;
        for (size_t i = 0; i < domain.def()->nchannels; i++) {
            virDomainChrDef *channel = domain.def()->channels[i];
            if (!channel->info.alias || alias != channel->info.alias || channel->state == state)
                continue;
            channel->state = state;
            domain.saveStatus();
            if (STREQ_NULLABLE(channel->target.name, "org.qemu.guest_agent.0"))
                domain.host().queueEvent(virDomainEventAgentLifecycleNewFromObj(
                    domain.object(), state, VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_REASON_CHANNEL));
        }
    });
}

} // namespace godwit::domain
