// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>

namespace godwit::engine {

/// Keeps sending below a rate that may change at any time: a token bucket whose depth is a
/// tenth of a second.
class Limiter
{
public:
    using Clock = std::chrono::steady_clock;

    /// `rate` is asked again and again: bytes per second, 0 = unlimited.
    explicit Limiter(std::function<uint64_t()> rate) : rate_(std::move(rate)) {}

    /// How much to send at once at most, so that the rate is even and a failure shows soon.
    uint64_t portion() const;
    /// `bytes` were sent: sleep until more may follow.
    void spend(uint64_t bytes);
    /// How long it has slept in all.
    Clock::duration slept() const { return slept_; }

private:
    std::function<uint64_t()> rate_;
    Clock::time_point free_{};   // when all that was sent is paid for
    Clock::duration slept_{};
};

} // namespace godwit::engine
