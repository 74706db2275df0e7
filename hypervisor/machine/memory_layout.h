// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "control/messages.h"

#include <cstdint>
#include <vector>

namespace godwit::hypervisor::machine {

/// Guest addresses below this are RAM from the file's beginning; the rest of the RAM
/// begins at 4 GiB. The command line makes QEMU split at the same place on both machine
/// types (max-ram-below-4g), whatever their own defaults are.
inline constexpr uint64_t lowMemoryEnd = uint64_t{2} << 30;

/// Where each page of the RAM file stands in the guest.
std::vector<control::Region> memoryLayout(uint64_t ramBytes);

} // namespace godwit::hypervisor::machine
