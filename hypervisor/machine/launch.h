// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "hypervisor/machine/guest.h"
#include "hypervisor/machine/machine.h"
#include "hypervisor/machine/pending_memory.h"

namespace godwit::hypervisor::machine {

/// What adopt() needs of a status file.
struct Status : GuestStatus {
    pid_t pid = 0;   ///< 0: it was written before the emulator ran
    unsigned long long startTime = 0;
    int ramFd = -1;
    bool fakeReboot = false;
    bool receiving = false;
    std::optional<PendingStatus> pages;

    static base::Result<std::unique_ptr<GuestStatus>> parse(xmlXPathContextPtr context);
};

/// What starting a guest needs of its Host.
struct LaunchContext {
    const MachineSettings &settings;
    std::shared_ptr<EventLoop> loop;
    virPortAllocatorRange *vncPorts;
};

enum class Fill {
    Boot,       ///< the guest boots
    Incoming,   ///< a stream fills it
    OnDemand,   ///< likewise, and its pages may come while it runs, if the agent can do it
};

/// Start QEMU for a definition, its vCPUs stopped. Nothing is left of it on failure.
base::Result<std::shared_ptr<MachineGuest>> launch(const LaunchContext &context, const CreateRequest &request,
                                                   Fill fill);
/// Find the QEMU that a status file tells of.
base::Result<std::shared_ptr<MachineGuest>> takeUp(const LaunchContext &context, const CreateRequest &request,
                                                   const Status &status);

} // namespace godwit::hypervisor::machine
