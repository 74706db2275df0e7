// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// A hash for every page of a guest, however large: in a file without a name, which has holes
// where there is no page, so that memory stays bounded and later pages replace earlier ones.

#include "base/result.h"
#include "base/unique_fd.h"

#include <array>
#include <cstdint>
#include <functional>
#include <span>

namespace godwit::tools {

using Hash = std::array<uint64_t, 2>;   ///< zeros: the page is empty, or not there

/// Pages from `first` up to and without `end`.
struct PageRange {
    uint64_t first = 0, end = 0;
};

class PageHashes
{
public:
    static base::Result<PageHashes> create();

    /// Of `first` and the pages behind it.
    base::Result<void> put(uint64_t first, std::span<const Hash> hashes);

    /// Call `differs` for each range of pages that are not alike, in order.
    friend base::Result<void> compareHashes(const PageHashes &before, const PageHashes &after,
                                            const std::function<void(PageRange)> &differs);

private:
    explicit PageHashes(base::UniqueFd file) : file_(std::move(file)) {}
    /// The first page from `pfn` on that may have a hash.
    uint64_t next(uint64_t pfn) const;
    base::Result<void> read(uint64_t first, std::span<Hash> into) const;

    base::UniqueFd file_;
    uint64_t end_ = 0;   ///< behind the highest page that has one
};

base::Result<void> compareHashes(const PageHashes &before, const PageHashes &after,
                                 const std::function<void(PageRange)> &differs);

} // namespace godwit::tools
