// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// Whether an image's pages go through the kernel's page cache, or past it by direct I/O.

#include "base/result.h"
#include "base/unique_fd.h"

#include <cstdint>

namespace godwit::engine {

enum class PageCache {
    Use,      ///< pages go through it
    Spare,    ///< they do not, where the file can do without and is not in it already
    Bypass,   ///< they do not, or the operation fails
};

/// What suits an image with `bytes` of memory on a host with so much of it: one that is small beside the host stays in
/// the page cache for whoever restores it soon. A larger one would push out what others read, and to find room there
/// takes longer than the disk does (docs/performance.md).
constexpr PageCache suitableCache(uint64_t bytes, uint64_t hostBytes)
{
    return bytes > hostBytes / 16 ? PageCache::Spare : PageCache::Use;
}

/// How many threads do direct I/O: each waits for its own piece, and a disk wants several to choose from.
inline constexpr unsigned directThreads = 4;

/// The image once more, for direct I/O of its pages; none where they go through the page cache. Whoever reads begins
/// at byte `begin`, whose pages are aligned.
base::Result<base::UniqueFd> openDirectWriter(int fd, PageCache cache);
base::Result<base::UniqueFd> openDirectReader(int fd, uint64_t begin, PageCache cache);

} // namespace godwit::engine
