// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>

namespace godwit::engine {

enum class Phase { Setup, Waiting, Memory, LastMemory, DeviceState, Finishing };

/// How a transfer goes. Bytes unless the name says otherwise.
struct Statistics {
    Phase phase = Phase::Setup;
    std::chrono::milliseconds elapsed{};
    uint64_t memoryTotal = 0;
    uint64_t memoryProcessed = 0;
    uint64_t memoryRemaining = 0;   ///< in this round
    uint64_t streamBytes = 0;
    uint64_t normalPages = 0;
    uint64_t constantPages = 0;
    uint64_t bandwidth = 0;         ///< per second
    uint64_t dirtyPagesPerSecond = 0;
    uint32_t iteration = 0;
    std::chrono::milliseconds expectedDowntime{};
    std::string tracker = "none";
    uint32_t connections = 0;       ///< that carry pages; 0: a file
    uint64_t deviceStateBytes = 0;
    std::chrono::milliseconds setup{};      ///< until the first page moved
    std::chrono::milliseconds suspending{}; ///< from asking for the suspend to having it
    std::chrono::milliseconds stopped{};    ///< since the guest was known to stand still
    std::chrono::milliseconds loading{};    ///< QEMU taking its device state
};

/// The statistics of one transfer: written by the engine, read by any thread.
class Meter
{
public:
    using Clock = std::chrono::steady_clock;

    /// `onStep` is called by the engine's thread when a phase or round begins.
    explicit Meter(std::function<void()> onStep = {}) : onStep_(std::move(onStep)) {}

    void update(const std::function<void(Statistics &)> &change)
    {
        const std::lock_guard lock(mutex_);
        change(statistics_);
    }
    void enter(Phase phase)
    {
        update([&](Statistics &statistics) { statistics.phase = phase; });
        step();
    }
    void step()
    {
        if (onStep_)
            onStep_();
    }
    void firstPage()
    {
        update([this](Statistics &statistics) { statistics.setup = since(begin_); });
    }
    void guestStopped()
    {
        update([this](Statistics &) { stoppedAt_ = Clock::now(); });
    }

    Statistics snapshot() const
    {
        const std::lock_guard lock(mutex_);
        Statistics out = statistics_;
        out.elapsed = since(begin_);
        if (stoppedAt_)
            out.stopped = since(*stoppedAt_);
        return out;
    }
    static std::chrono::milliseconds since(Clock::time_point begin)
    {
        return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin);
    }

private:
    const Clock::time_point begin_ = Clock::now();
    std::function<void()> onStep_;
    mutable std::mutex mutex_;
    Statistics statistics_;                      // under mutex_, as is
    std::optional<Clock::time_point> stoppedAt_;
};

} // namespace godwit::engine
