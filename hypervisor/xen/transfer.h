// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// One save, restore or migration, as its guest and those who wait for it see it.

#include "hypervisor/xen/guest.h"

#include <atomic>

namespace godwit::hypervisor::xen {

struct XenGuest::Transfer {
    enum class Direction { Save, Receive };
    Transfer(Direction way, std::unique_ptr<Operation> op);

    /// See Guest::abortTransfer(). The first reason counts. Waits for libxl's lock, which a thread
    /// holds that tells an observer: not with a domain locked, and not from within libxl.
    void abort(const std::string &reason);
    bool aborted();
    /// The error of an operation that was aborted: the reason for it.
    base::Error abortion();
    /// libxl's helper tells how many pages of a round it has sent.
    void progress(const char *what, unsigned long done, unsigned long total);
    /// The guest's vCPUs have stopped, now.
    void stopped();
    TransferProgress figures();
    void observe(TransferObserver *observer);
    /// What stands between libxl and the connections, if anything does; abort() ends it, too.
    void setRelay(std::shared_ptr<RelayProcess> relay);
    std::shared_ptr<RelayProcess> relay();

    const Direction direction;
    const std::unique_ptr<Operation> operation;
    uint32_t maxRounds = 0;
    std::chrono::seconds maxTime{};
    std::function<void(const std::string &reason)> giveUp;   ///< abort(), somewhere else

    // Receive: the outcome, for finishReceiving().
    base::UniqueFd wakeup;   ///< ends the wait for the peer
    std::optional<base::Result<TransferProgress>> outcome;

private:
    std::mutex aborting_;
    bool aborted_ = false;
    std::string reason_;
    std::shared_ptr<RelayProcess> relay_;

    std::mutex mutex_;   ///< held while the observer is told
    TransferObserver *observer_ = nullptr;
    TransferProgress progress_;
    uint64_t sentBefore_ = 0;   ///< pages of earlier rounds
    std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
    std::optional<std::chrono::steady_clock::time_point> stoppedAt_;
};

} // namespace godwit::hypervisor::xen
