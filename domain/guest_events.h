// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "domain/domain.h"

#include <array>
#include <atomic>
#include <functional>

namespace godwit::domain {

/// What one incarnation of a domain's guest tells, brought from the event thread to the
/// Host's worker, where it becomes state, status file and libvirt events.
///
/// States that an API call or a migration asked for are set by them; here is only what
/// the guest does by itself.
class GuestEvents : public hypervisor::GuestListener, public std::enable_shared_from_this<GuestEvents>
{
public:
    explicit GuestEvents(const Domain &domain);

    /// Whether the guest has told that it powers off. Any thread may ask.
    bool poweredOff() const { return poweredOff_; }

    void guestPaused(hypervisor::StopCause cause) override;
    void guestRunning() override;
    void guestReset() override;
    void guestShuttingDown() override;
    void guestDied(hypervisor::DeathCause cause) override;
    void balloonChanged(uint64_t kib) override;
    void ioError(const std::string &alias, bool paused, const std::string &reason) override;
    void watchdogFired(const std::string &action) override;
    void clockChanged(int64_t offsetSeconds) override;
    void trayMoved(const std::string &alias, bool open) override;
    void channelStateChanged(const std::string &alias, bool open) override;
    void imageError(const std::string &path, const std::string &reason) override;
    void memoryComplete() override;

private:
    /// Run `handle` with the domain locked, on the worker, unless this incarnation has ended.
    void later(std::function<void(Domain &)> handle);

    Host &host_;
    std::array<unsigned char, VIR_UUID_BUFLEN> uuid_;
    std::atomic<bool> poweredOff_ = false;
};

/// The domain's state says that it runs: if the guest stands still again, by itself, say so.
void tellStop(Domain &domain);

} // namespace godwit::domain
