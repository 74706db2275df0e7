// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/memory_map.h"

namespace godwit::engine {

/// A piece of guest RAM as it is, not a copy: for what a disk takes or brings without the page cache, and for
/// several threads that write at once, of which a file takes only one. Not for much at a time (memory_map.h).
class MappedPages
{
public:
    enum class Access { Read, Write };

    /// `pages` pages from `first`, until this ends.
    static base::Result<MappedPages> map(const MemoryMap &memory, uint64_t first, uint64_t pages, Access access);

    MappedPages(MappedPages &&other) noexcept;
    MappedPages &operator=(MappedPages &&) = delete;
    ~MappedPages();

    /// `count` pages from `first`, of the RAM file. They are brought in at once, which costs less than a fault
    /// each; holes among them become pages.
    base::Result<std::span<std::byte>> pages(uint64_t first, uint64_t count) const;

private:
    MappedPages(std::span<std::byte> data, uint64_t first, Access access) : data_(data), first_(first), access_(access) {}

    std::span<std::byte> data_;
    uint64_t first_;
    Access access_;
};

} // namespace godwit::engine
