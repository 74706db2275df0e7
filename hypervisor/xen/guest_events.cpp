// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/i18n.h"
#include "base/log.h"
#include "base/strprintf.h"
#include "hypervisor/xen/guest.h"
#include "hypervisor/xen/transfer.h"

#include <ctime>

namespace godwit::hypervisor::xen {

using base::LogLevel;
using base::Result;
using base::strprintf;
using base::tr;

// A guest that shuts down leaves its domain behind, and Xen's toolstack does with it what
// the definition says. Some of that takes long: all of it is errands.

void XenGuest::domainShutDown(libxl_shutdown_reason reason)
{
    if (const auto moving = transfer(); moving && reason == LIBXL_SHUTDOWN_REASON_SUSPEND)
        return moving->stopped();
    uint32_t domain = 0;
    {
        std::lock_guard lock(mutex_);
        if (destroying_ || !domid_ || life_ != Life::Alive)
            return;
        domain = *domid_;
        if (reason == LIBXL_SHUTDOWN_REASON_SUSPEND) {
            if (suspended_)
                return;
        } else if (reason == LIBXL_SHUTDOWN_REASON_REBOOT &&
                   facts_.onReboot != VIR_DOMAIN_LIFECYCLE_ACTION_DESTROY &&
                   facts_.onReboot != VIR_DOMAIN_LIFECYCLE_ACTION_PRESERVE) {
            life_ = Life::Rebooting;
        }
    }
    setRunning(false);
    host_.errands.run([self = shared_from_this(), domain, reason] { self->settle(domain, reason); });
}

void XenGuest::domainGone()
{
    {
        std::lock_guard lock(mutex_);
        if (destroying_ || life_ != Life::Alive)
            return;
    }
    // Somebody else destroyed it.
    host_.errands.run([self = shared_from_this()] { self->die(DeathCause::Destroyed); });
}

void XenGuest::settle(uint32_t domain, libxl_shutdown_reason reason)
{
    switch (reason) {
    case LIBXL_SHUTDOWN_REASON_SUSPEND: {
        // It answers a request that was given up long ago.
        log(LogLevel::Warning, "domain '%s' suspended too late: it goes on", facts_.name.c_str());
        if (auto resumed = resume(ResumeMode::Fast); !resumed)
            log(LogLevel::Error, "%s", resumed.error().message.c_str());
        return;
    }
    case LIBXL_SHUTDOWN_REASON_REBOOT:
        return poweredOff(domain, facts_.onReboot, DeathCause::PoweredOff, /* crashed= */ false);
    case LIBXL_SHUTDOWN_REASON_CRASH:
    case LIBXL_SHUTDOWN_REASON_WATCHDOG:
        return poweredOff(domain, facts_.onCrash, DeathCause::Crashed, /* crashed= */ true);
    case LIBXL_SHUTDOWN_REASON_SOFT_RESET: return softReset(domain);
    default: return poweredOff(domain, facts_.onPoweroff, DeathCause::PoweredOff, /* crashed= */ false);
    }
}

void XenGuest::poweredOff(uint32_t domain, int action, DeathCause cause, bool crashed)
{
    if (action == VIR_DOMAIN_LIFECYCLE_ACTION_COREDUMP_DESTROY ||
        action == VIR_DOMAIN_LIFECYCLE_ACTION_COREDUMP_RESTART) {
        g_mkdir_with_parents(host_.dumpDir.c_str(), 0700);
        const std::string path = strprintf("%s/%s-%lld", host_.dumpDir.c_str(), facts_.name.c_str(),
                                           static_cast<long long>(time(nullptr)));
        if (auto dumped = dumpCore(path); !dumped)
            log(LogLevel::Error, "%s", dumped.error().message.c_str());
    }
    switch (action) {
    case VIR_DOMAIN_LIFECYCLE_ACTION_RESTART:
    case VIR_DOMAIN_LIFECYCLE_ACTION_RESTART_RENAME:
    case VIR_DOMAIN_LIFECYCLE_ACTION_COREDUMP_RESTART: return rebootInPlace(domain);
    case VIR_DOMAIN_LIFECYCLE_ACTION_PRESERVE:
        if (auto listener = this->listener()) {
            if (crashed)
                listener->guestPaused(StopCause::Panicked);
            else
                listener->guestShuttingDown();
        }
        return;
    default: break;
    }
    if (auto listener = this->listener(); listener && !crashed)
        listener->guestShuttingDown();
    {
        // What the watcher sees of the domain's death is our doing.
        std::lock_guard lock(mutex_);
        if (life_ == Life::Alive)
            life_ = Life::Ending;
    }
    auto operation = Operation::withXenstore();
    Result<void> gone = operation ? (*operation)->run(inContext(tr("destroying it")),
                                                      [&](libxl_ctx *ctx, const libxl_asyncop_how *how) {
                                                          return libxl_domain_destroy(ctx, domain, how);
                                                      })
                                  : Result<void>(operation.error().in(inContext(tr("destroying it"))));
    if (!gone)
        log(LogLevel::Error, "%s", gone.error().message.c_str());
    die(cause);
}

void XenGuest::die(DeathCause cause)
{
    std::shared_ptr<GuestListener> told;
    std::optional<uint32_t> domain;
    {
        std::lock_guard lock(mutex_);
        if (life_ == Life::Dead)
            return;
        life_ = Life::Dead;
        told = std::move(listener_);
        domain = domid_;
        changed_.notify_all();
    }
    if (domain)
        host_.watcher.forget(*domain);
    setRunning(false);
    if (auto transfer = this->transfer())
        transfer->abort(tr("the guest is gone"));
    if (told)
        told->guestDied(cause);
}

/// A new domain of the same configuration takes the old one's place.
Result<uint32_t> XenGuest::makeAnew(uint32_t domain)
{
    auto operation = TRY(Operation::withXenstore());
    DomainConfig config;
    TRY(operation->run(inContext(tr("reading its configuration")), [&](libxl_ctx *ctx, const libxl_asyncop_how *how) {
        return libxl_retrieve_domain_configuration(ctx, domain, config.get(), how);
    }));
    host_.watcher.forget(domain);
    TRY(operation->run(inContext(tr("ending it for its reboot")), [&](libxl_ctx *ctx, const libxl_asyncop_how *how) {
        return libxl_domain_destroy(ctx, domain, how);
    }));
    uint32_t made = 0;
    TRY(operation->run(inContext(tr("starting it again")), [&](libxl_ctx *ctx, const libxl_asyncop_how *how) {
        return libxl_domain_create_new(ctx, config.get(), &made, how, nullptr);
    }));
    return made;
}

void XenGuest::rebootInPlace(uint32_t domain)
{
    {
        std::lock_guard lock(mutex_);
        life_ = Life::Rebooting;
    }
    auto rebooted = [&]() -> Result<void> {
        const uint32_t made = TRY(makeAnew(domain));
        TRY(attach(made));
        changed_.notify_all();
        return unpause();
    }();
    if (!rebooted) {
        log(LogLevel::Error, "domain '%s' does not reboot: %s", facts_.name.c_str(),
            rebooted.error().message.c_str());
        return die(DeathCause::Failed);
    }
    if (auto listener = this->listener())
        listener->guestReset();
}

/// What Xen and its tools put around a guest, made anew: event channels, console, xenstore, devices with their
/// backends, the device model. The domain, its memory and its vCPUs stay; it is left paused.
Result<void> XenGuest::renewSurroundings(uint32_t domain)
{
    auto operation = TRY(Operation::withXenstore());
    DomainConfig config;
    TRY(operation->run(inContext(tr("reading its configuration")), [&](libxl_ctx *ctx, const libxl_asyncop_how *how) {
        return libxl_retrieve_domain_configuration(ctx, domain, config.get(), how);
    }));
    // Not asynchronous: libxl 4.17 notes the domain's number in a variable of a function that has then returned.
    TRY(operation->context().check(
        libxl_domain_soft_reset(operation->context(), config.get(), domain, nullptr, nullptr),
        inContext(tr("resetting it"))));
    return attach(domain);
}

void XenGuest::softReset(uint32_t domain)
{
    auto reset = [&]() -> Result<void> {
        TRY(renewSurroundings(domain));
        return unpause();
    }();
    if (reset)
        return;
    log(LogLevel::Error, "%s", reset.error().message.c_str());
    poweredOff(domain, VIR_DOMAIN_LIFECYCLE_ACTION_DESTROY, DeathCause::Failed, /* crashed= */ true);
}

} // namespace godwit::hypervisor::xen
