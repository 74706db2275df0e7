// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "hypervisor/hypervisor.h"

namespace godwit::hypervisor {

/// What the machine hypervisor of one Host needs to know.
struct MachineSettings {
    std::string qemuBinary;                 ///< empty: the first qemu-system-x86_64 on PATH
    std::string helper;                     ///< path of godwit-helper
    std::string agent;                      ///< path of libgodwit-agent.so
    std::string launcher;                   ///< path of godwit-launch, which preloads it
    bool restoreOnDemand = true;            ///< let a guest run before its memory is read
    bool privileged = false;                ///< may make tap devices
    GMainContext *eventContext = nullptr;   ///< of the Host's event thread; outlives the hypervisor
};

/// The hypervisor whose guests QEMU runs and whose memory Godwit owns and moves.
std::unique_ptr<Hypervisor> makeMachine(MachineSettings settings);

} // namespace godwit::hypervisor
