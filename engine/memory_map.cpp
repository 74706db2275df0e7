// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/memory_map.h"

#include "base/i18n.h"

#include <cerrno>
#include <sys/stat.h>
#include <unistd.h>

namespace godwit::engine {

using namespace base;

static constexpr uint64_t maxPfn = uint64_t{1} << 52;

static Result<void> checkRegions(std::vector<Region> regions, uint64_t filePages)
{
    for (const Region &region : regions) {
        if (region.pages == 0 || region.pages > filePages || region.firstPage > filePages - region.pages)
            return makeError(ErrorCode::InvalidArgument, tr("a memory region lies beyond the guest's RAM file"));
        if (region.firstPfn.value > maxPfn - region.pages)
            return makeError(ErrorCode::InvalidArgument, tr("a memory region lies beyond all addresses"));
    }
    const auto overlap = [&](auto first) {
        std::ranges::sort(regions, {}, first);
        for (size_t i = 1; i < regions.size(); i++)
            if (first(regions[i]) - first(regions[i - 1]) < regions[i - 1].pages)
                return true;
        return false;
    };
    if (overlap([](const Region &region) { return region.firstPfn.value; })
        || overlap([](const Region &region) { return region.firstPage; }))
        return makeError(ErrorCode::InvalidArgument, tr("memory regions overlap"));
    return {};
}

Result<MemoryMap> MemoryMap::make(int ramFd, std::vector<Region> regions)
{
    struct stat status{};
    if (::fstat(ramFd, &status) < 0)
        return systemError(errno, tr("cannot look at the guest's RAM file"));
    MemoryMap out;
    out.fd_ = ramFd;
    out.filePages_ = static_cast<uint64_t>(status.st_size) / pageSize;
    if (regions.empty() || out.filePages_ == 0)
        return makeError(ErrorCode::InvalidArgument, tr("the guest has no memory"));
    TRY(checkRegions(regions, out.filePages_));
    std::ranges::sort(regions, {}, [](const Region &region) { return region.firstPfn.value; });
    for (const Region &region : regions)
        out.guestPages_ += region.pages;
    out.regions_ = std::move(regions);
    return out;
}

MemoryMap::MemoryMap(MemoryMap &&other) noexcept
    : fd_(other.fd_), filePages_(other.filePages_), guestPages_(other.guestPages_), regions_(std::move(other.regions_))
{
}

Result<void> MemoryMap::read(uint64_t first, std::span<std::byte> into) const
{
    for (auto at = static_cast<off_t>(first * pageSize); !into.empty();) {
        const ssize_t count = ::pread(fd_, into.data(), into.size(), at);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return systemError(count < 0 ? errno : EIO, tr("cannot read the guest's RAM"));
        at += count;
        into = into.subspan(static_cast<size_t>(count));
    }
    return {};
}

Result<void> MemoryMap::write(uint64_t first, std::span<const std::byte> data) const
{
    // The kernel lets one write at a time into a file. Those who wait shall sleep, and not spin as they
    // would there.
    const std::lock_guard lock(writing_);
    for (auto at = static_cast<off_t>(first * pageSize); !data.empty();) {
        const ssize_t count = ::pwrite(fd_, data.data(), data.size(), at);
        if (count < 0 && errno != EINTR)
            return systemError(errno, tr("cannot write the guest's RAM"));
        const auto done = static_cast<size_t>(std::max<ssize_t>(count, 0));
        at += static_cast<off_t>(done);
        data = data.subspan(done);
    }
    return {};
}

std::optional<uint64_t> MemoryMap::find(Pfn pfn) const
{
    for (const Region &region : regions_)
        if (pfn >= region.firstPfn && pfn.value - region.firstPfn.value < region.pages)
            return region.firstPage + (pfn.value - region.firstPfn.value);
    return {};
}

bool MemoryMap::has(uint64_t number) const
{
    return std::ranges::any_of(regions_, [number](const Region &region) {
        return number >= region.firstPage && number - region.firstPage < region.pages;
    });
}

Result<stream::AlignedLayout> MemoryMap::layout(const stream::AlignedIndex &index) const
{
    std::vector<stream::PageRun> runs;
    for (const Region &region : regions_)
        runs.push_back({region.firstPfn, region.pages});
    return stream::AlignedLayout::make(index, runs);
}

PageSet MemoryMap::allPages() const
{
    PageSet all(filePages_);
    for (const Region &region : regions_)
        all.addRange(region.firstPage, region.firstPage + region.pages);
    return all;
}

/// The number of the first page at or after `page` that exists, or of one beyond the file.
Result<uint64_t> MemoryMap::nextPresent(uint64_t page) const
{
    const off_t data = ::lseek(fd_, static_cast<off_t>(page * pageSize), SEEK_DATA);
    if (data >= 0)
        return static_cast<uint64_t>(data) / pageSize;
    if (errno == ENXIO)
        return filePages_;
    // hugetlbfs has no SEEK_DATA: there everything counts as present.
    if (errno == EINVAL)
        return page;
    return systemError(errno, tr("cannot find the holes of the guest's RAM"));
}

Result<PageSet> MemoryMap::presentPages() const
{
    PageSet present(filePages_);
    for (uint64_t end, page = 0; (page = TRY(nextPresent(page))) < filePages_; page = end) {
        const off_t hole = ::lseek(fd_, static_cast<off_t>(page * pageSize), SEEK_HOLE);
        if (hole < 0 && errno != EINVAL)
            return systemError(errno, tr("cannot find the holes of the guest's RAM"));
        end = hole < 0 ? filePages_ : (static_cast<uint64_t>(hole) + pageSize - 1) / pageSize;
        present.addRange(page, end);
    }
    return present;
}

Result<PageSet> MemoryMap::presentAmong(const PageSet &pages) const
{
    constexpr uint64_t few = 8192;
    if (pages.count() > few)
        return presentPages();
    PageSet present(filePages_);
    for (uint64_t page = pages.next(0); page < filePages_;) {
        const uint64_t found = TRY(nextPresent(page));
        if (found == page)
            present.add(page++);
        page = pages.next(std::max(page, found));
    }
    return present;
}

Result<uint64_t> MemoryMap::allocatedPages() const
{
    constexpr uint64_t blockSize = 512;
    struct stat status{};
    if (::fstat(fd_, &status) < 0)
        return systemError(errno, tr("cannot look at the guest's RAM file"));
    return static_cast<uint64_t>(status.st_blocks) * blockSize / pageSize;
}

} // namespace godwit::engine
