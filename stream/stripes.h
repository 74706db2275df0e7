// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// How a migration's pages are spread over its connections (docs/channel.md). A page's
// connection never changes, so the order in which one connection carries the copies of a page
// is the order in which they were sent: no older copy can overtake a newer one.

#include "base/units.h"

#include <cstddef>

namespace godwit::stream {

inline constexpr uint32_t maxConnections = 32;
inline constexpr uint64_t stripePages = 64;

/// Which pages belong to connection `index` of `count`.
struct Stripe {
    size_t index = 0;
    size_t count = 1;

    bool has(base::Pfn pfn) const { return pfn.value / stripePages % count == index; }
    /// How many pages from `pfn` on, itself included, belong to the same connection, at least.
    static uint64_t leftFrom(base::Pfn pfn) { return stripePages - pfn.value % stripePages; }
};

} // namespace godwit::stream
