// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "stream/fd_io.h"
#include "stream/libxc_format.h"

namespace godwit::stream::libxc {

/// Image header, domain header and what a version 3 stream has before its pages. (No CPU
/// policies: a machine guest's processor is described by its XML and its device state.)
base::Result<void> writeHead(Sink &sink, const DomainHeader &header);

/// One PAGE_DATA record: `words` are encoded page words, at most maxPagesPerRecord, and
/// `data` the memory of those that have data, in their order. Nothing is copied; `data`
/// is used up.
base::Result<void> writePages(Sink &sink, std::span<const uint64_t> words, std::vector<iovec> &data);

/// The END record alone, after which there are no more pages.
base::Result<void> writeEnd(Sink &sink);

/// What an HVM stream has after its pages, END included.
base::Result<void> writeHvmTail(Sink &sink, const TscInfo &tsc, std::span<const std::byte> context,
                                std::span<const HvmParam> params);

} // namespace godwit::stream::libxc
