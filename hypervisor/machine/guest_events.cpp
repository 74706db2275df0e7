// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/machine/guest.h"

#include "base/i18n.h"
#include "base/log.h"
#include "hypervisor/machine/pending_memory.h"
#include "hypervisor/machine/transfer.h"

namespace godwit::hypervisor::machine {

using base::Error;
using base::ErrorCode;
using base::LogLevel;
using base::makeError;
using base::Result;
using base::tr;

/// QEMU names a device by its alias or by its path in the object tree.
static std::string aliasOf(const Json &name)
{
    std::string path = name.string().value_or("");
    constexpr std::string_view root = "/machine/peripheral/";
    if (path.starts_with(root))
        path.erase(0, root.size());
    return path.substr(0, path.find('/'));
}

void MachineGuest::onEvent(const std::string &name, const Json &data)
{
    const auto told = listener();
    if (name == "STOP")
        onStop();
    else if (name == "RESUME")
        onRun();
    else if (name == "SHUTDOWN")
        onShutdown(data);
    else if (name == "GUEST_PANICKED")
        onPanic();
    else if (name == "BLOCK_IO_ERROR")
        onBlockError(data);
    else if (name == "MIGRATION")
        onMigration(data);
    else if (!told)
        return;
    else if (name == "RESET")
        told->guestReset();
    else if (name == "BALLOON_CHANGE")
        told->balloonChanged(static_cast<uint64_t>(data["actual"].integer().value_or(0)) / 1024);
    else if (name == "RTC_CHANGE")
        told->clockChanged(data["offset"].integer().value_or(0));
    else if (name == "DEVICE_TRAY_MOVED")
        told->trayMoved(aliasOf(data["id"]), data["tray-open"].boolean().value_or(false));
    else if (name == "VSERPORT_CHANGE")
        told->channelStateChanged(aliasOf(data["id"]), data["open"].boolean().value_or(false));
    else if (name == "WATCHDOG") {
        const std::string action = data["action"].string().value_or("");
        if (action == "pause")
            expectStop(StopCause::Watchdog);
        told->watchdogFired(action);
    }
}

void MachineGuest::onStop()
{
    running_ = false;
    StopCause cause = StopCause::Unknown;
    {
        std::lock_guard lock(mutex_);
        cause = std::exchange(stopCause_, StopCause::Unknown);
        if (shutDown_)
            cause = StopCause::ShuttingDown;
    }
    if (const auto told = listener())
        told->guestPaused(cause);
}

void MachineGuest::onRun()
{
    running_ = true;
    if (const auto told = listener())
        told->guestRunning();
}

void MachineGuest::onShutdown(const Json &data)
{
    const std::string reason = data["reason"].string().value_or("");
    bool reboot = false;
    {
        std::lock_guard lock(mutex_);
        reboot = std::exchange(fakeReboot_, false) && reason == "guest-shutdown";
        shutDown_ = !reboot;
        if (!reboot && !deathCause_)
            deathCause_ = reason == "host-signal"   ? DeathCause::Destroyed
                          : reason == "guest-panic" ? DeathCause::Crashed
                                                    : DeathCause::PoweredOff;
    }
    if (reboot) {
        expectStop(StopCause::Rebooting);   // QEMU stops it as if it were to end
        return rebootInPlace();
    }
    // On a signal, or when told to quit, it goes by itself.
    if (reason == "host-signal" || reason == "host-qmp-quit")
        return;
    if (const auto told = listener())
        told->guestShuttingDown();
    quit();
}

void MachineGuest::rebootInPlace()
{
    qmp_->submit("system_reset", {}, [weak = weak_from_this()](Result<Json> result) {
        auto self = weak.lock();
        if (!self)
            return;
        if (!result)
            return self->rebootFailed(result.error());
        self->qmp_->submit("cont", {}, [weak](Result<Json> resumed) {
            auto resumer = weak.lock();
            if (resumer && !resumed)
                resumer->rebootFailed(resumed.error());
        });
    });
}

void MachineGuest::rebootFailed(const Error &why)
{
    log(LogLevel::Error, "domain '%s': cannot go on after its reboot: %s", facts_.name.c_str(), why.message.c_str());
    if (const auto told = listener())
        told->guestPaused(StopCause::Unknown);
}

void MachineGuest::quit()
{
    qmp_->submit("quit", {}, [](Result<Json>) {});
}

void MachineGuest::onPanic()
{
    expectStop(StopCause::Panicked);
    if (facts_.onCrash == VIR_DOMAIN_LIFECYCLE_ACTION_PRESERVE)
        return;
    if (facts_.onCrash == VIR_DOMAIN_LIFECYCLE_ACTION_RESTART)
        return rebootInPlace();
    {
        std::lock_guard lock(mutex_);
        if (!deathCause_)
            deathCause_ = DeathCause::Crashed;
    }
    quit();
}

void MachineGuest::onBlockError(const Json &data)
{
    // Nodes are named by the disk's index, see disk_args.cpp.
    const std::string node = data["node-name"].string().value_or("");
    size_t index = 0;
    std::string alias;
    if (sscanf(node.c_str(), "disk%zu-", &index) == 1 && index < facts_.diskAliases.size())
        alias = facts_.diskAliases[index];
    const bool stops = data["action"].string().value_or("") == "stop";
    if (stops)
        expectStop(StopCause::IoError);
    if (const auto told = listener())
        told->ioError(alias, stops, data["nospace"].boolean().value_or(false) ? "enospc"
                                                                               : data["reason"].string().value_or(""));
}

void MachineGuest::onMigration(const Json &data)
{
    if (const auto current = transfer())
        current->migrationChanged(data["status"].string().value_or(""));
}

void MachineGuest::onMonitorClosed(const Error &why)
{
    // Normally the process ends with it. One that lives on cannot be spoken to any more.
    hangWatch_ = Watch::after(*loop_, std::chrono::seconds(5), [weak = weak_from_this()] {
        auto self = weak.lock();
        if (!self)
            return;
        log(LogLevel::Error, "domain '%s': its emulator closed the monitor and lives on: ending it",
            self->facts_.name.c_str());
        (void)self->process_.signal(SIGKILL).has_value();
    });
    log(LogLevel::Info, "domain '%s': %s", facts_.name.c_str(), why.message.c_str());
}

void MachineGuest::onProcessEnd()
{
    processWatch_.reset();
    hangWatch_.reset();
    // What it said last decides how its end is called.
    if (qmp_)
        qmp_->drain();
    running_ = false;
    std::shared_ptr<GuestListener> told;
    std::shared_ptr<Transfer> current;
    std::shared_ptr<PendingMemory> missing;
    DeathCause cause = DeathCause::Crashed;
    {
        std::lock_guard lock(mutex_);
        if (std::exchange(dead_, true))
            return;
        told = std::exchange(listener_, nullptr);
        current = transfer_;
        missing = pending_;
        cause = deathCause_.value_or(DeathCause::Crashed);
    }
    hangWatch_.reset();
    if (missing)
        missing->guestGone();
    if (current)
        current->guestGone(*end());
    if (told)
        told->guestDied(cause);
}

std::optional<Error> MachineGuest::end()
{
    {
        std::lock_guard lock(mutex_);
        if (!dead_)
            return std::nullopt;
    }
    std::string how = lastWords();
    if (how.empty())
        how = tr("it wrote no reason");
    return makeError(ErrorCode::OperationFailed, tr("the emulator of '%s' has ended: %s"), facts_.name.c_str(),
                     how.c_str());
}

void MachineGuest::watchProcess()
{
    loop_->post([weak = weak_from_this()] {
        auto self = weak.lock();
        if (!self)
            return;
        self->processWatch_ = Watch::onFd(*self->loop_, self->process_.fd(), G_IO_IN, [weak](GIOCondition) {
            if (auto guest = weak.lock())
                guest->onProcessEnd();
        });
    });
}

} // namespace godwit::hypervisor::machine
