// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/machine/memory_layout.h"

#include "base/units.h"

#include <algorithm>

namespace godwit::hypervisor::machine {

std::vector<control::Region> memoryLayout(uint64_t ramBytes)
{
    const uint64_t low = std::min(ramBytes, lowMemoryEnd);
    std::vector<control::Region> regions{{0, 0, low >> base::pageShift}};
    if (ramBytes > low)
        regions.push_back({(4 * base::GiB) >> base::pageShift, low, (ramBytes - low) >> base::pageShift});
    return regions;
}

} // namespace godwit::hypervisor::machine
