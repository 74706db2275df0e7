// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/dirty_tracker.h"
#include "engine/lanes.h"
#include "engine/limiter.h"
#include "engine/meter.h"
#include "stream/libxc_writer.h"
#include "stream/stripes.h"

namespace godwit::engine {

/// Turns sets of pages into PAGE_DATA records. The other side begins with zeros, so a page
/// that is zero, or a hole, is sent only if something else was sent for it before. With
/// further lanes each page has its own (stream/stripes.h).
class PageSender
{
public:
    /// All borrowed. `tracker` may be null: the guest stands still.
    PageSender(const MemoryMap &memory, stream::Sink &sink, const FurtherLanes<stream::Sink> &further, Meter &meter);

    void setTracker(DirtyTracker *tracker) { tracker_ = tracker; }
    /// Null: as fast as it goes.
    void setLimiter(Limiter *limiter) { limiter_ = limiter; }

    base::Result<void> send(const PageSet &pages);
    /// The same for the last time, adding pages that were sent and have since been given back: now
    /// they are holes, and no tracker sees it.
    base::Result<void> sendLast(PageSet &pages);
    /// No page follows on any lane but the first.
    base::Result<void> end();
    /// Bytes written on all lanes together, whatever wrote them.
    uint64_t offset() const;

private:
    class Lane;
    /// What all lanes of a round look at.
    struct Round {
        const PageSet &pages;
        PageSet present;
    };
    base::Result<void> send(const Round &round);

    const MemoryMap &memory_;
    const std::vector<stream::Sink *> sinks_;
    const std::function<void()> interrupt_;
    Meter &meter_;
    DirtyTracker *tracker_ = nullptr;
    Limiter *limiter_ = nullptr;
    uint64_t allocated_ = 0;          // pages of the file when the last round began
    PageSet sent_;                    // pages for which data was ever sent; shared by the lanes
};

} // namespace godwit::engine
