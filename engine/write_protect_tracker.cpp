// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/dirty_tracker.h"

#include "base/i18n.h"
#include "base/strprintf.h"
#include "base/unique_fd.h"

#include <cerrno>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

namespace godwit::engine {

using namespace base;

namespace {

// Linux 6.7's <linux/fs.h>; older headers lack it.
struct PageRegion {
    uint64_t start;
    uint64_t end;
    uint64_t categories;
};

struct ScanArguments {
    uint64_t size;
    uint64_t flags;
    uint64_t start;
    uint64_t end;
    uint64_t walkEnd;
    uint64_t regions;
    uint64_t regionCount;
    uint64_t maxPages;
    uint64_t categoryInverted;
    uint64_t categoryMask;
    uint64_t categoryAnyOf;
    uint64_t returnMask;
};
static_assert(sizeof(ScanArguments) == 96);

constexpr unsigned long pagemapScan = _IOWR('f', 16, ScanArguments);
constexpr uint64_t pageIsWritten = 1 << 1;
constexpr uint64_t protectMatching = 1 << 0;   // PM_SCAN_WP_MATCHING
constexpr uint64_t checkAsync = 1 << 1;        // PM_SCAN_CHECK_WPASYNC: EPERM where the agent is missing

class WriteProtectTracker : public DirtyTracker
{
public:
    WriteProtectTracker(const MemoryMap &memory, pid_t pid) : memory_(memory), pid_(pid), found_(4096) {}

    const char *name() const override { return "write-protect"; }

    Result<void> start() override
    {
        const std::string path = strprintf("/proc/%d/pagemap", pid_);
        pagemap_.reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        if (!pagemap_)
            return systemError(errno, tr("cannot open '%s'"), path.c_str());
        process_.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
        if (!process_)
            return systemError(errno, tr("cannot watch process %d"), pid_);
        mappings_ = TRY(findGuestMappings(pid_, memory_.fd()));
        PageSet before(memory_.filePages());
        return collect(before);
    }

    Result<void> collect(PageSet &dirty) override
    {
        for (const GuestMapping &mapping : mappings_)
            TRY(scan(mapping, dirty));
        // The page map of a process that has ended is silently empty.
        pollfd ended{process_.get(), POLLIN, 0};
        if (::poll(&ended, 1, 0) > 0)
            return makeError(ErrorCode::OperationFailed, tr("the guest's process has ended"));
        return {};
    }

private:
    Result<void> scan(const GuestMapping &mapping, PageSet &dirty)
    {
        const uint64_t end = mapping.address + mapping.pages * pageSize;
        for (uint64_t at = mapping.address; at < end;) {
            ScanArguments arguments{};
            arguments.size = sizeof arguments;
            arguments.flags = protectMatching | checkAsync;
            arguments.start = at;
            arguments.end = end;
            arguments.regions = reinterpret_cast<uintptr_t>(found_.data());
            arguments.regionCount = found_.size();
            arguments.categoryMask = pageIsWritten;
            arguments.returnMask = pageIsWritten;
            const int count = ::ioctl(pagemap_.get(), pagemapScan, &arguments);
            if (count < 0 && errno == EINTR)
                continue;
            if (count < 0)
                return systemError(errno, tr("cannot scan for written pages"));
            for (int i = 0; i < count; i++) {
                const auto pageOf = [&](uint64_t address) {
                    return mapping.firstPage + (address - mapping.address) / pageSize;
                };
                dirty.addRange(pageOf(found_[i].start), pageOf(found_[i].end));
            }
            if (arguments.walkEnd <= at)
                return makeError(ErrorCode::Internal, "the scan for written pages does not advance");
            at = arguments.walkEnd;
        }
        return {};
    }

    const MemoryMap &memory_;
    pid_t pid_;
    UniqueFd process_;   // pidfd
    UniqueFd pagemap_;
    std::vector<GuestMapping> mappings_;
    std::vector<PageRegion> found_;
};

} // namespace

std::unique_ptr<DirtyTracker> makeWriteProtectTracker(const MemoryMap &memory, pid_t pid)
{
    return std::make_unique<WriteProtectTracker>(memory, pid);
}

} // namespace godwit::engine
