// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// An aligned image out of which a guest's pages are read in any order, while the guest runs.
// Every place is computed from the index, which is somebody else's claim: it is held to the
// heads of the batches before a page of them is believed.

#include "base/unique_fd.h"
#include "engine/device_state.h"
#include "engine/memory_map.h"
#include "engine/meter.h"
#include "engine/page_cache.h"

#include <memory>
#include <mutex>
#include <vector>

namespace godwit::engine {

/// An image as it was when it was opened.
struct ImageOrigin {
    int fd = -1;                    ///< a regular file (borrowed)
    uint64_t begin = 0;             ///< of the stream in the file
    uint64_t size = 0;              ///< of the file
    uint64_t modifiedNs = 0;        ///< when it was written last: it must stay as it was
    stream::AlignedIndex index;
    PageCache cache = PageCache::Use;   ///< for the pages
};

class PagedImage
{
public:
    /// `memory` and the file outlive it.
    static base::Result<std::unique_ptr<PagedImage>> open(const MemoryMap &memory, const ImageOrigin &origin);

    /// Read everything but pages: whether the stream is whole, and QEMU's device state.
    base::Result<DeviceState> readDeviceState(Meter &meter);

    /// Where a page of the RAM file stands.
    struct Place {
        uint64_t offset = 0;        ///< in the file
        uint64_t pages = 0;         ///< from this one on that follow it, in the file and in RAM
        uint64_t batch = 0;
    };
    std::optional<Place> find(uint64_t page) const;
    /// The data of neighbours, as many as fit into `into`; thread-safe.
    base::Result<void> read(const Place &place, std::span<std::byte> into);
    /// Fails when the file is not what it was.
    base::Result<void> checkUnchanged();
    /// Somebody has looked after the file: take it as it is now.
    void acceptChanges();

    int fd() const { return direct_ ? direct_.get() : origin_.fd; }
    /// Whether every read waits for the disk.
    bool isDirect() const { return bool(direct_); }

private:
    PagedImage(const MemoryMap &memory, const ImageOrigin &origin, stream::AlignedLayout layout);
    base::Result<void> checkHead(uint64_t batch);

    const MemoryMap &memory_;
    const ImageOrigin origin_;
    const stream::AlignedLayout layout_;
    base::UniqueFd direct_;
    std::mutex mutex_;              // for what follows
    uint64_t modifiedNs_;
    std::vector<bool> checked_;     // batches whose heads are what they must be
};

} // namespace godwit::engine
