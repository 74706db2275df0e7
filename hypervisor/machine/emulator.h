// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.h"
#include "hypervisor/machine/capabilities.h"

#include <string>
#include <vector>

namespace godwit::hypervisor::machine {

/// What an emulator says of itself.
struct Emulator {
    std::string binary;
    unsigned long version = 0;           ///< major*1000000 + minor*1000 + micro
    std::vector<std::string> machines;   ///< pc and q35 with their versions, aliases first
    std::string pc, q35;                 ///< what the aliases stand for
    std::vector<CpuModel> cpuModels;
};

/// The first of the usual names that PATH has; empty: none.
std::string findEmulator();
/// Ask it (runs it once, some 50 ms).
base::Result<Emulator> probeEmulator(const std::string &binary);

} // namespace godwit::hypervisor::machine
