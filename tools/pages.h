// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/units.h"

#include <cstring>
#include <span>

namespace godwit::tools {

/// How many pages' data to read in one go.
inline constexpr size_t pagesAtOnce = 256;

inline bool isZeroPage(std::span<const std::byte> page)
{
    return page[0] == std::byte{} && std::memcmp(page.data(), page.data() + 1, base::pageSize - 1) == 0;
}

} // namespace godwit::tools
