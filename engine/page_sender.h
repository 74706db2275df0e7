// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/dirty_tracker.h"
#include "engine/limiter.h"
#include "engine/meter.h"
#include "stream/libxc_writer.h"

namespace godwit::engine {

/// Turns sets of pages into PAGE_DATA records. The other side begins with zeros, so a page
/// that is zero, or a hole, is sent only if something else was sent for it before.
class PageSender
{
public:
    /// All borrowed. `tracker` may be null: the guest stands still.
    PageSender(const MemoryMap &memory, stream::Sink &sink, Meter &meter)
        : memory_(memory), sink_(sink), meter_(meter), sent_(memory.filePages())
    {
    }

    void setTracker(DirtyTracker *tracker) { tracker_ = tracker; }
    /// Null: as fast as it goes.
    void setLimiter(Limiter *limiter) { limiter_ = limiter; }

    base::Result<void> send(const PageSet &pages);

    /// Pages that were sent and have since been given back: now holes, and no tracker sees it.
    base::Result<void> addPunched(PageSet &pages) const;

private:
    base::Result<void> sendRegion(const Region &region, const PageSet &pages, const PageSet &present);
    const std::byte *take(uint64_t page, bool present);
    void chooseRecordSize();
    base::Result<void> flush();

    const MemoryMap &memory_;
    stream::Sink &sink_;
    Meter &meter_;
    DirtyTracker *tracker_ = nullptr;
    Limiter *limiter_ = nullptr;
    PageSet sent_;                    // pages for which data was ever sent
    size_t recordPages_ = stream::libxc::pagesPerRecord;
    std::vector<uint64_t> words_;     // the record being built
    std::vector<iovec> parts_;
    std::vector<std::byte> copies_;   // of its pages, for trackers that want the content
    uint64_t passed_ = 0;             // pages gone through since the last record
    uint64_t constant_ = 0;
};

} // namespace godwit::engine
