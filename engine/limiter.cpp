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
    return rate == 0 ? ~uint64_t{0} : static_cast<uint64_t>(perNap(rate));
}

void Limiter::spend(uint64_t bytes)
{
    const auto begin = Clock::now();
    free_ = std::max(free_, begin - depth);
    for (double unpaid = static_cast<double>(bytes); unpaid >= 1;) {
        const uint64_t rate = rate_();
        if (rate == 0) {
            free_ = Clock::now();
            break;
        }
        // What is unpaid becomes time, as much as a nap at the present rate can hold.
        const double share = std::min(unpaid, perNap(rate));
        const std::chrono::duration<double> price(share / static_cast<double>(rate));
        free_ += std::chrono::duration_cast<Clock::duration>(price);
        unpaid -= share;
        if (free_ > Clock::now())
            std::this_thread::sleep_until(free_);
    }
    slept_ += Clock::now() - begin;
}

} // namespace godwit::engine
