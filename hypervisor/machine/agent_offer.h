// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// What the agent in QEMU says: at most one message, before the guest runs (engine/agent/agent.c).
// It is in a process that the guest may have got hold of.

#include "base/unique_fd.h"

#include <optional>

namespace godwit::hypervisor::machine {

/// Memory can come on demand.
struct AgentOffer {
    base::UniqueFd faults;    ///< the userfaultfd of the guest's memory
    int faultsInGuest = -1;   ///< its number there
};

bool isUserfaultfd(int fd);

/// Nothing unless just that has come; other descriptors are closed.
std::optional<AgentOffer> receiveOffer(int socket);

} // namespace godwit::hypervisor::machine
