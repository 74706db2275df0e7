// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/dirty_tracker.h"

#include "base/i18n.h"
#include "base/strprintf.h"
#include "base/unique_fd.h"
#include "engine/held_process.h"

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <fstream>
#include <sys/mman.h>

namespace godwit::engine {

using namespace base;

namespace {

constexpr uint64_t softDirtyBit = uint64_t{1} << 55;

Result<UniqueFd> openProc(pid_t pid, const char *file, int flags)
{
    const std::string path = strprintf("/proc/%d/%s", pid, file);
    UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC));
    if (!fd)
        return systemError(errno, tr("cannot open '%s'"), path.c_str());
    return fd;
}

/// Begin anew: bit 55 of every page of the process is cleared.
Result<void> clearAll(const UniqueFd &clearRefs)
{
    if (::pwrite(clearRefs.get(), "4", 1, 0) != 1)
        return systemError(errno, tr("cannot clear the soft-dirty bits"));
    return {};
}

Result<bool> isMarked(const UniqueFd &pagemap, const void *address)
{
    uint64_t entry = 0;
    const auto offset = static_cast<off_t>(reinterpret_cast<uintptr_t>(address) / pageSize * sizeof entry);
    if (::pread(pagemap.get(), &entry, sizeof entry, offset) != sizeof entry)
        return systemError(errno, tr("cannot read the page map"));
    return (entry & softDirtyBit) != 0;
}

/// Whether this kernel has soft-dirty bits at all: tried on a page of our own.
Result<void> probeKernel()
{
    const auto clearRefs = TRY(openProc(::getpid(), "clear_refs", O_WRONLY));
    const auto pagemap = TRY(openProc(::getpid(), "pagemap", O_RDONLY));
    void *page = ::mmap(nullptr, pageSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return systemError(errno, tr("cannot map a page"));
    const auto probe = [&]() -> Result<bool> {
        auto *word = static_cast<volatile int *>(page);
        *word = 1;
        TRY(clearAll(clearRefs));
        const bool before = TRY(isMarked(pagemap, page));
        *word = 2;
        return !before && TRY(isMarked(pagemap, page));
    };
    const auto works = probe();
    ::munmap(page, pageSize);
    if (!TRY(works))
        return makeError(ErrorCode::Unsupported, tr("this kernel has no soft-dirty bits"));
    return {};
}

/// A shared page that is swapped out loses its mark with its page table entry.
Result<void> checkNoSwap()
{
    std::ifstream swaps("/proc/swaps");
    std::string line;
    std::getline(swaps, line);   // the headings
    if (std::getline(swaps, line))
        return makeError(ErrorCode::Unsupported, tr("this host has swap space"));
    return {};
}

/// Direct I/O leaves no mark: only the agent's touch after each read does.
Result<void> checkAgent(pid_t pid)
{
    std::ifstream maps(strprintf("/proc/%d/maps", pid));
    for (std::string line; std::getline(maps, line);)
        if (line.find("/libgodwit-agent.so") != line.npos)
            return {};
    return makeError(ErrorCode::Unsupported, tr("the guest runs without our agent"));
}

class SoftDirtyTracker : public DirtyTracker
{
public:
    SoftDirtyTracker(const MemoryMap &memory, pid_t pid) : memory_(memory), pid_(pid) {}

    const char *name() const override { return "soft-dirty"; }

    Result<void> start() override
    {
        TRY(probeKernel());
        TRY(checkNoSwap());
        TRY(checkAgent(pid_));
        mappings_ = TRY(findGuestMappings(pid_, memory_.fd()));
        clearRefs_ = TRY(openProc(pid_, "clear_refs", O_WRONLY));
        pagemap_ = TRY(openProc(pid_, "pagemap", O_RDONLY));
        PageSet before(memory_.filePages());
        return collect(before);   // also shows whether we may hold the process
    }

    /// What is written between reading the bits and clearing them would be lost.
    Result<void> collect(PageSet &dirty) override
    {
        HeldProcess held;
        TRY(held.hold(pid_));
        for (const GuestMapping &mapping : mappings_)
            TRY(readBits(mapping, dirty));
        return clearAll(clearRefs_);
    }

private:
    Result<void> readBits(const GuestMapping &mapping, PageSet &dirty)
    {
        std::array<uint64_t, 4096> entries;
        for (uint64_t done = 0; done < mapping.pages;) {
            const size_t want = std::min<uint64_t>(entries.size(), mapping.pages - done);
            const auto offset = static_cast<off_t>((mapping.address / pageSize + done) * sizeof entries[0]);
            const ssize_t count = ::pread(pagemap_.get(), entries.data(), want * sizeof entries[0], offset);
            if (count <= 0)
                return systemError(errno, tr("cannot read the guest's page map"));
            const size_t got = static_cast<size_t>(count) / sizeof entries[0];
            for (size_t i = 0; i < got; i++)
                if (entries[i] & softDirtyBit)
                    dirty.addRange(mapping.firstPage + done + i, mapping.firstPage + done + i + 1);
            done += got;
        }
        return {};
    }

    const MemoryMap &memory_;
    pid_t pid_;
    UniqueFd clearRefs_;
    UniqueFd pagemap_;
    std::vector<GuestMapping> mappings_;
};

} // namespace

std::unique_ptr<DirtyTracker> makeSoftDirtyTracker(const MemoryMap &memory, pid_t pid)
{
    return std::make_unique<SoftDirtyTracker>(memory, pid);
}

} // namespace godwit::engine
