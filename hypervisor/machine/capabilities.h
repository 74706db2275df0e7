// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.h"
#include "conf/handle.h"

#include <span>
#include <string>

namespace godwit::hypervisor {

/// A processor that the emulator can give a guest.
struct CpuModel {
    std::string name;
    bool emulated = false;   ///< whole, without KVM
};

/// What is to be said about the emulator.
struct EmulatorFacts {
    std::string binary;
    std::span<const std::string> machines;   ///< names, the aliases pc and q35 among them
    std::span<const CpuModel> cpuModels;
    bool kvm = false;                        ///< KVM runs guests here
};

/// `virsh capabilities`: this host, and the guests it can run.
base::Result<conf::ObjectRef<virCaps>> makeCapabilities(const EmulatorFacts &emulator);

/// `virsh domcapabilities`: what a domain of this machine and type may have. Null
/// arguments stand for the defaults.
base::Result<conf::ObjectRef<virDomainCaps>> makeDomainCapabilities(const EmulatorFacts &emulator,
                                                                    const char *binary, const char *arch,
                                                                    const char *machine, const char *virtType);

} // namespace godwit::hypervisor
