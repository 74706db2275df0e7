// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// Compressed pages of continuous protection (Xen 4.2 to 4.5). A page is the byte 0x80 and
// its 4096 bytes; or 0x00, unchanged; or runs, each a byte with bit 7 "unchanged" and bits
// 6-0 a number of 4-byte words, which follow when they are new, up to 4096 bytes in all.
// Unchanged means: as it was last sent compressed, so those pages are kept in a file.

#include "base/unique_fd.h"
#include "base/units.h"
#include "stream/fd_io.h"

#include <array>
#include <string>
#include <vector>

namespace godwit::stream::legacy {

using Page = std::span<std::byte, base::pageSize>;

/// The last contents of pages, by number, in a sparse file that appears with the first one.
class PageStore
{
public:
    explicit PageStore(std::string folder) : folder_(std::move(folder)) {}

    base::Result<void> put(base::Pfn pfn, Page page);
    /// An error when the page was never put.
    base::Result<void> get(base::Pfn pfn, Page page) const;

private:
    std::string folder_;
    base::UniqueFd file_;
};

/// One COMPRESSED_DATA chunk: `length` bytes of `source`, read in steps.
class CompressedChunk
{
public:
    CompressedChunk(Source &source, uint64_t length) : source_(source), left_(length) {}

    bool empty() const { return left_ == 0 && window_.empty(); }
    /// The next page, which is `pfn`.
    base::Result<void> readPage(PageStore &store, base::Pfn pfn, Page page);

private:
    base::Result<uint8_t> readByte();
    base::Result<void> read(std::span<std::byte> into);
    base::Result<void> readRuns(uint8_t first, Page page);

    Source &source_;
    uint64_t left_;                      ///< not in the buffer yet
    std::array<std::byte, 16384> buffer_;
    std::span<const std::byte> window_;  ///< of the buffer: not used yet
};

} // namespace godwit::stream::legacy
