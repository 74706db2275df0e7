// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// An aligned image as arithmetic (docs/image-libvirt.md, "Aligned image"): which batch a page is in,
// and at which byte of the stream each stands. No I/O but that of the stream's head.

#include "base/units.h"
#include "stream/fd_io.h"
#include "stream/libxc_format.h"
#include "stream/savefile.h"

#include <optional>
#include <span>
#include <vector>

namespace godwit::stream {

/// A run of a guest's pages.
struct PageRun {
    base::Pfn first;
    uint64_t pages = 0;
};

/// The PAGE_DATA record of up to AlignedIndex::batchPages neighbouring pages.
struct Batch {
    base::Pfn first;
    uint64_t pages = 0;
    uint64_t offset = 0;       ///< of the record; all offsets count from the stream's first byte
    uint64_t dataOffset = 0;   ///< of the first page's data
};

class AlignedLayout
{
public:
    /// For a guest with this memory: runs in ascending order, none empty, no overlap.
    static base::Result<AlignedLayout> make(const AlignedIndex &index, std::span<const PageRun> memory);

    const AlignedIndex &index() const { return index_; }
    uint64_t batches() const { return batches_; }
    Batch batch(uint64_t number) const;
    /// The number of the batch that has this page; nothing where the guest has no memory.
    std::optional<uint64_t> batchOf(base::Pfn pfn) const;
    /// Where a page's data stands.
    std::optional<uint64_t> pageOffset(base::Pfn pfn) const;
    /// Where the record after the last batch stands.
    uint64_t end() const;

    /// The first AlignedIndex::headSize bytes of a batch: record header and page words.
    std::vector<std::byte> encodeHead(const Batch &batch) const;
    /// Everything before the first batch. `sink` stands at the stream's first byte.
    base::Result<void> writeStreamHead(Sink &sink, const libxc::DomainHeader &header) const;

private:
    struct Run {
        uint64_t firstPfn, pages;
        uint64_t pagesBefore, batchesBefore;
    };

    AlignedLayout() = default;
    const Run *find(base::Pfn pfn) const;
    /// What fills a head: a page without data, and none of the guest's.
    uint64_t absentWord() const;

    AlignedIndex index_;
    std::vector<Run> runs_;
    uint64_t pages_ = 0, batches_ = 0;
};

} // namespace godwit::stream
