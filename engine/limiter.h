// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>

namespace godwit::engine {

/// Keeps sending below a rate that may change at any time: a token bucket whose depth is a
/// tenth of a second. Several threads may share it; the rate is that of all together.
class Limiter
{
public:
    using Clock = std::chrono::steady_clock;

    /// `rate` is asked again and again: bytes per second, 0 = unlimited.
    explicit Limiter(std::function<uint64_t()> rate, unsigned threads = 1) : rate_(std::move(rate)), threads_(threads)
    {
    }

    /// How much a thread is to send at once at most, so that the rate is even and a failure
    /// shows soon.
    uint64_t portion() const;
    /// `bytes` were sent: sleep until more may follow.
    void spend(uint64_t bytes);
    /// How long a thread has slept in all, on average.
    Clock::duration slept() const;

private:
    Clock::time_point pay(double bytes, uint64_t rate);

    const std::function<uint64_t()> rate_;
    const unsigned threads_;
    mutable std::mutex mutex_;           // for what follows
    Clock::time_point free_{};           // when all that was sent is paid for
    Clock::duration slept_{};            // of all threads together
};

} // namespace godwit::engine
