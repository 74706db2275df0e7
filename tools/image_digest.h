// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// What `diff` keeps of an image: hashes, so that two pipes can be compared, too.

#include "tools/contents.h"

#include <array>
#include <map>

namespace godwit::tools {

using Hash = std::array<uint64_t, 2>;

struct PageDigest {
    uint64_t pfn = 0;
    uint64_t type = 0;      ///< 0 unless it is a page table
    Hash hash{};            ///< zeros: the page is empty, or not there
    bool operator==(const PageDigest &) const = default;
};

struct PartDigest {
    uint64_t length = 0;
    Hash hash{};
    bool operator==(const PartDigest &) const = default;
};

struct ImageDigest {
    StreamHead head;
    std::vector<PageDigest> pages;              ///< by number, each once; empty ones are left out
    std::map<std::string, PartDigest> parts;    ///< by name, of the last checkpoint
};

base::Result<ImageDigest> digest(const Input &input, const ContentsOptions &options);

/// Pages from `first` up to and without `end`.
struct PageRange {
    uint64_t first = 0, end = 0;
};

/// Where the memory of two guests differs.
std::vector<PageRange> differingPages(const ImageDigest &before, const ImageDigest &after);

} // namespace godwit::tools
