// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "stream/fd_io.h"
#include "stream/libxc_format.h"

namespace godwit::stream::libxc {

/// What becomes of a stream's contents. Called in the stream's order, on the reader's
/// thread; an error ends the reading and gets the record's name and place in front.
class Handler
{
public:
    virtual ~Handler() = default;

    virtual base::Result<void> begin(uint32_t version, const DomainHeader &header) = 0;
    /// The data of these pages comes next: read exactly pageSize bytes for each, in order.
    /// The same page may come again: the last one counts.
    virtual base::Result<void> pages(std::span<const PageWord> words, Source &source) = 0;
    /// A page that has no data (Broken, AllocOnly, Absent).
    virtual base::Result<void> pageWithoutData(PageWord word) = 0;
    /// Any other record that the table knows, its length and flags checked.
    virtual base::Result<void> record(RecordType type, std::span<const std::byte> body) = 0;
};

/// Read one libxc stream, from its image header to its END record. Refuses checkpointed
/// streams and records that do not belong to the stream's version or guest type.
base::Result<void> readStream(Source &source, Handler &handler);

/// Read PAGE_DATA records of at most pagesPerRecord pages up to an END record, and nothing
/// else: what the further connections of a migration carry (docs/channel.md).
base::Result<void> readPages(Source &source, Handler &handler);

} // namespace godwit::stream::libxc
