// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// One save, restore or migration: the helper moves the memory, QEMU the device state.
//
//   Save
//   Memory      the helper reads memory        it asks for the suspension: Stopping
//   Stopping    `migrate`: QEMU writes what    it has stopped the guest: Draining, Suspended is said
//               it can of a guest that runs
//   Draining    `migrate-continue`: device     QEMU completed and the helper is done: Ended
//               state flows
//
//   Receive
//   Memory      the helper fills memory        it asks to load the state: Loading
//   Loading     `migrate-incoming`             QEMU completed: Finishing, StateLoaded is said
//   Finishing   the source is told             the helper is done: Ended; or it brings pages from
//                                              now on, as the guest needs them: Ended, for us
//
//   Ended       the outcome stands; whoever waits for it takes the guest from there
//
// Whatever fails first, on either side, is the cause. All of it happens on the event
// thread, but wait(), abort() and setLimits().

#include "hypervisor/hypervisor.h"
#include "hypervisor/machine/helper_process.h"
#include "hypervisor/machine/json.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>

namespace godwit::hypervisor::machine {

class MachineGuest;

class Transfer : public std::enable_shared_from_this<Transfer>
{
public:
    enum class Direction { Save, Receive };

    Transfer(Direction direction, std::shared_ptr<HelperProcess> helper, std::shared_ptr<EventLoop> loop);
    ~Transfer();

    /// Begin to listen to the helper. `guest` outlives the transfer's activity.
    void start(std::weak_ptr<MachineGuest> guest);
    /// Wait for the end. A helper that has failed is ended; collect() waits for it, unless it
    /// serves the guest's pages from now on, or has done its work: that leaves by itself.
    base::Result<TransferProgress> wait(TransferObserver *observer);
    void collect();
    /// How long ago it ended.
    std::chrono::duration<double, std::milli> sinceEnd();
    /// See Guest::abortTransfer().
    void abort(const std::string &failure = {});
    /// Save: fail if the guest has not been stopped by then.
    void giveUpAfter(std::chrono::seconds time);
    void setLimits(const TransferLimits &limits);
    /// Whether QEMU was told to write its state (then it may still be at it).
    bool stateBegun();
    /// Receive: whether the guest was whole, and the source may have heard of it.
    bool stateLoaded() const { return stateLoaded_; }
    Direction direction() const { return direction_; }

    // ---- told by the guest, on the event thread
    void migrationChanged(const std::string &status);
    void guestGone(const base::Error &why);

    /// The name under which the device-state pipe was handed to QEMU.
    static constexpr const char *pipeName = "godwit-state";
    static constexpr const char *pipeUri = "fd:godwit-state";

private:
    enum class State { Memory, Stopping, Draining, Loading, Finishing, Ended };

    void onMessage(const control::Message &message);
    void onProgress(const control::Progress &progress);
    void suspend();
    void writeState();
    void tellEmulator(const char *command, Json arguments);
    void loadState();
    void migrationFailed();
    void askWhy();
    void onDone(const control::Done &done);
    void onServing(const control::Serving &serving);
    void tryComplete();
    base::Error aborted() const;
    void finish(base::Result<TransferProgress> outcome);

    const Direction direction_;
    const std::shared_ptr<HelperProcess> helper_;
    const std::shared_ptr<EventLoop> loop_;
    // Event thread.
    std::weak_ptr<MachineGuest> guest_;
    State state_ = State::Memory;
    bool helperDone_ = false;
    bool migrationDone_ = false;
    bool aborted_ = false;
    std::string abortCause_;   ///< empty: somebody asked for it
    Watch patience_, timeLimit_;
    std::chrono::steady_clock::time_point stoppedAt_;
    bool stopped_ = false;
    std::atomic<bool> stateLoaded_{false};

    std::mutex mutex_;
    std::condition_variable ended_;
    TransferProgress progress_;
    TransferObserver *observer_ = nullptr;
    bool stateBegun_ = false;
    std::chrono::steady_clock::time_point endedAt_;
    bool serving_ = false;   ///< the helper is the guest's now
    std::optional<base::Result<TransferProgress>> outcome_;
};

/// A helper's figures.
TransferProgress translate(const control::Progress &from);

} // namespace godwit::hypervisor::machine
