// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// Figures of running domains, as both the single queries and the bulk one report them.
// Where it says so, the domain must have a job and is unlocked while the guest is asked;
// it is active when such a function succeeds.

#include "domain/domain.h"

#include <string>
#include <vector>

namespace godwit::driver {

/// Counters of one disk (target or source path), or the sum of all for "". Needs a job.
base::Result<hypervisor::BlockStats> blockStatsOf(domain::Domain &domain, const char *disk);
/// Counters of a disk by its alias; `alias` is the caller's, not the definition's. Needs a job.
base::Result<hypervisor::BlockStats> blockStatsByAlias(domain::Domain &domain, const std::string &alias);

/// What the balloon driver tells, and the memory that the guest's process holds. Needs a job.
base::Result<std::vector<virDomainMemoryStatStruct>> memoryStatsOf(domain::Domain &domain);

using hypervisor::VcpuFigures;
/// Every vCPU that is online. Needs a job.
base::Result<std::vector<VcpuFigures>> vcpuFiguresOf(domain::Domain &domain);

/// Counters of an interface's host end. Needs no job.
base::Result<virDomainInterfaceStatsStruct> interfaceStatsOf(const virDomainNetDef *net);

/// Sizes of a disk's image in bytes.
struct ImageSize {
    unsigned long long capacity = 0;     ///< what the guest sees
    unsigned long long allocation = 0;   ///< what it takes on the host
    unsigned long long physical = 0;     ///< the container's end
};
/// Read from the file or device itself, which may take as long as its storage: call it
/// with the domain unlocked.
base::Result<ImageSize> imageSizeOf(const std::string &path, int format);

} // namespace godwit::driver
