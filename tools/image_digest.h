// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// What `diff` keeps of an image: hashes, so that two pipes can be compared, too.

#include "tools/contents.h"
#include "tools/page_hashes.h"

#include <map>

namespace godwit::tools {

struct PartDigest {
    uint64_t length = 0;
    Hash hash{};
    bool operator==(const PartDigest &) const = default;
};

struct ImageDigest {
    StreamHead head;
    PageHashes pages;                           ///< page tables differ from other pages by their hash
    std::map<std::string, PartDigest> parts;    ///< by name, of the last checkpoint
};

base::Result<ImageDigest> digest(const Input &input, const ContentsOptions &options);

} // namespace godwit::tools
