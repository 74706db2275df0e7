// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// Which pages of guest RAM were written since we last asked: three ways, chosen at run time.
//
//   write-protect  the agent in QEMU has registered the RAM for asynchronous write
//                  protection; PAGEMAP_SCAN returns and re-protects written pages
//   soft-dirty     /proc/PID/clear_refs and bit 55 of /proc/PID/pagemap, QEMU held still
//                  for the few milliseconds between reading and clearing
//   content-hash   compares every page with what was sent: needs nothing, costs a pass over
//                  all memory in each round

#include "base/result.h"
#include "engine/memory_map.h"

#include <memory>
#include <string>
#include <sys/types.h>

namespace godwit::engine {

class DirtyTracker
{
public:
    virtual ~DirtyTracker() = default;

    virtual const char *name() const = 0;
    /// From here on writes count. Fails where this way does not work.
    virtual base::Result<void> start() = 0;
    /// Add every page written since start() or the last collect(). May add more, never less:
    /// content read after the call is either the newest or found dirty by the next call.
    virtual base::Result<void> collect(PageSet &dirty) = 0;
    /// Once for every page that collect() found, unless it is all zeros. `content` is what was really sent:
    /// a copy, as the guest may change the page at any time. On any thread.
    virtual void sent(uint64_t page, const std::byte *content);
};

/// Where the guest's process maps a run of the RAM file.
struct GuestMapping {
    uint64_t address = 0;
    uint64_t firstPage = 0;
    uint64_t pages = 0;
};

/// Every shared writable mapping of the RAM file in `pid`.
base::Result<std::vector<GuestMapping>> findGuestMappings(pid_t pid, int ramFd);

std::unique_ptr<DirtyTracker> makeWriteProtectTracker(const MemoryMap &memory, pid_t pid);
std::unique_ptr<DirtyTracker> makeSoftDirtyTracker(const MemoryMap &memory, pid_t pid);
/// More pages than `mostHashes` share them, and are found dirty together: 32 MiB are enough for every page
/// of 16 GiB.
std::unique_ptr<DirtyTracker> makeContentTracker(const MemoryMap &memory, uint64_t mostHashes = uint64_t{1} << 22);

/// The best way that works for this guest (pid 0: unknown), started. Says in the log why
/// the better ones do not work.
base::Result<std::unique_ptr<DirtyTracker>> startBestTracker(const MemoryMap &memory, pid_t pid);

} // namespace godwit::engine
