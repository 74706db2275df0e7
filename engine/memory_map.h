// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// Guest RAM: a shared file (memfd) that QEMU maps, and where the guest sees its parts.
// Inside the engine a page is known by its number in the file; a Pfn is what streams say.
//
// Nobody here maps the file as a whole: page tables take 2 MiB per GiB, and to unmap them some 45 ms.

#include "base/result.h"
#include "base/units.h"
#include "engine/page_set.h"
#include "stream/aligned.h"

#include <mutex>
#include <optional>
#include <span>
#include <vector>

namespace godwit::engine {

/// A run of guest memory: `pages` pages from `firstPfn`, from `firstPage` in the RAM file.
struct Region {
    base::Pfn firstPfn;
    uint64_t firstPage = 0;
    uint64_t pages = 0;
};

class MemoryMap
{
public:
    /// The file is borrowed for the map's life. Refuses regions that overlap, as pfns or in the file,
    /// and those beyond the file's end.
    static base::Result<MemoryMap> make(int ramFd, std::vector<Region> regions);

    MemoryMap(MemoryMap &&other) noexcept;
    MemoryMap &operator=(MemoryMap &&) = delete;

    int fd() const { return fd_; }
    uint64_t filePages() const { return filePages_; }
    uint64_t guestPages() const { return guestPages_; }
    /// In the order of their pfns.
    std::span<const Region> regions() const { return regions_; }

    /// Copy neighbours out of the file, `into` being whole pages; holes are zeros and stay holes. On any thread.
    base::Result<void> read(uint64_t first, std::span<std::byte> into) const;
    /// Copy whole pages into the file. On any thread.
    base::Result<void> write(uint64_t first, std::span<const std::byte> data) const;
    /// The number of a guest's page, or nothing where the guest has no memory.
    std::optional<uint64_t> find(base::Pfn pfn) const;
    /// Whether a page of the file is memory of the guest's.
    bool has(uint64_t number) const;

    /// Where the pages are in an aligned image of this guest.
    base::Result<stream::AlignedLayout> layout(const stream::AlignedIndex &index) const;

    /// Every page of the regions.
    PageSet allPages() const;
    /// The pages that exist in the file: the others are holes, never touched or given back.
    base::Result<PageSet> presentPages() const;
    /// Those of `pages` that exist: costs little where they are few, while the other looks at all
    /// that exist (some 10 ms per GiB).
    base::Result<PageSet> presentAmong(const PageSet &pages) const;
    /// How many pages exist in the file, at once.
    base::Result<uint64_t> allocatedPages() const;

private:
    MemoryMap() = default;
    base::Result<uint64_t> nextPresent(uint64_t page) const;

    int fd_ = -1;
    uint64_t filePages_ = 0;
    uint64_t guestPages_ = 0;
    std::vector<Region> regions_;
    mutable std::mutex writing_;
};

} // namespace godwit::engine
