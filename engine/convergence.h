// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <chrono>

namespace godwit::engine {

/// Whether a rest that the guest may stand still for shall be made shorter all the same: it
/// costs the guest nothing, and each round that is half as long as the best one is the way there. One
/// that is not may be due to a burst of writes, or of other work on this host: the third in vain is not.
class Convergence
{
public:
    using Duration = std::chrono::duration<double>;

    bool isWorthARound(Duration expected)
    {
        constexpr Duration shortRest = std::chrono::milliseconds(2);
        constexpr unsigned enough = 3;
        if (expected <= shortRest)
            return false;
        if (expected < best_ / 2) {
            best_ = expected;
            inVain_ = 0;
        } else {
            inVain_++;
        }
        return inVain_ < enough;
    }

private:
    Duration best_ = std::chrono::hours(24);   // the shortest rest of which another round was made
    unsigned inVain_ = 0;                      // rounds since then
};

} // namespace godwit::engine
