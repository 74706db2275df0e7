// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/dirty_tracker.h"

#include "base/i18n.h"
#include "base/log.h"
#include "base/strprintf.h"

#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace godwit::engine {

using namespace base;

void DirtyTracker::sent(uint64_t, const std::byte *)
{
}

Result<std::vector<GuestMapping>> findGuestMappings(pid_t pid, int ramFd)
{
    struct stat ram{};
    if (::fstat(ramFd, &ram) < 0)
        return systemError(errno, tr("cannot look at the guest's RAM file"));
    const std::string path = strprintf("/proc/%d/maps", pid);
    std::ifstream maps(path);
    if (!maps)
        return systemError(errno, tr("cannot open '%s'"), path.c_str());
    std::vector<GuestMapping> found;
    for (std::string line; std::getline(maps, line);) {
        uint64_t start, end, offset, inode;
        unsigned major, minor;
        char flags[5];
        if (std::sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64, &start, &end,
                        flags, &offset, &major, &minor, &inode) != 7)
            continue;
        if (inode == ram.st_ino && makedev(major, minor) == ram.st_dev && flags[1] == 'w' && flags[3] == 's')
            found.push_back({start, offset / pageSize, (end - start) / pageSize});
    }
    if (found.empty())
        return makeError(ErrorCode::OperationFailed, tr("process %d does not map the guest's RAM"), pid);
    return found;
}

Result<std::unique_ptr<DirtyTracker>> startBestTracker(const MemoryMap &memory, pid_t pid)
{
    for (auto make : {makeWriteProtectTracker, makeSoftDirtyTracker}) {
        if (pid == 0)
            break;
        auto tracker = make(memory, pid);
        auto started = tracker->start();
        if (started)
            return tracker;
        log(LogLevel::Info, tr("dirty tracking by %s does not work here: %s"), tracker->name(),
            started.error().message.c_str());
    }
    auto tracker = makeContentTracker(memory);
    TRY(tracker->start());
    return tracker;
}

} // namespace godwit::engine
