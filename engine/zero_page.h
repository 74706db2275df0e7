// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/units.h"

#include <cstring>

namespace godwit::engine {

inline bool isZeroPage(const std::byte *page)
{
    // Most pages that are not zero show it in their first word; the rest is left to
    // libc's memcmp, which uses the widest registers there are.
    uint64_t first;
    std::memcpy(&first, page, sizeof first);
    return first == 0 && std::memcmp(page, page + sizeof first, base::pageSize - sizeof first) == 0;
}

} // namespace godwit::engine
