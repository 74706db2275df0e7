// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>

namespace godwit::base {

inline constexpr size_t pageShift = 12;
inline constexpr size_t pageSize = size_t{1} << pageShift;

inline constexpr uint64_t KiB = 1024;
inline constexpr uint64_t MiB = 1024 * KiB;
inline constexpr uint64_t GiB = 1024 * MiB;

/// A number that is not to be mixed with numbers of another kind.
template <typename Tag, typename Number>
struct Strong {
    Number value{};
    auto operator<=>(const Strong &) const = default;
};

/// A guest's pseudo-physical page number: the unit of Xen's streams.
using Pfn = Strong<struct PfnTag, uint64_t>;

} // namespace godwit::base
