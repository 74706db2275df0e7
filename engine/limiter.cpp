// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/limiter.h"

#include <algorithm>
#include <thread>

namespace godwit::engine {

using namespace std::chrono_literals;

static constexpr auto depth = 100ms;
static constexpr auto nap = 50ms;   // after which the rate is asked again

static double perNap(uint64_t rate)
{
    return static_cast<double>(rate) * std::chrono::duration<double>(nap).count();
}

uint64_t Limiter::portion() const
{
    const uint64_t rate = rate_();
    return rate == 0 ? ~uint64_t{0} : static_cast<uint64_t>(perNap(rate) / threads_);
}

/// When so many bytes are paid for, after all that others have sent.
Limiter::Clock::time_point Limiter::pay(double bytes, uint64_t rate)
{
    const std::lock_guard lock(mutex_);
    const auto now = Clock::now();
    if (rate == 0)
        return free_ = now;
    const std::chrono::duration<double> price(bytes / static_cast<double>(rate));
    free_ = std::max(free_, now - depth) + std::chrono::duration_cast<Clock::duration>(price);
    return free_;
}

void Limiter::spend(uint64_t bytes)
{
    const auto begin = Clock::now();
    for (double unpaid = static_cast<double>(bytes); unpaid >= 1;) {
        // What is unpaid becomes time, as much as a nap at the present rate can hold.
        const uint64_t rate = rate_();
        const double share = rate == 0 ? unpaid : std::min(unpaid, perNap(rate));
        unpaid -= share;
        if (const auto paid = pay(share, rate); paid > Clock::now())
            std::this_thread::sleep_until(paid);
    }
    const std::lock_guard lock(mutex_);
    slept_ += Clock::now() - begin;
}

Limiter::Clock::duration Limiter::slept() const
{
    const std::lock_guard lock(mutex_);
    return slept_ / threads_;
}

} // namespace godwit::engine
