// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/lanes.h"
#include "engine/memory_map.h"
#include "engine/meter.h"
#include "engine/page_cache.h"
#include "stream/fd_io.h"
#include "stream/libxc_format.h"
#include "stream/savefile.h"

#include <chrono>
#include <functional>
#include <sys/types.h>

namespace godwit::engine {

class DeviceStateReader;

/// What may change while a transfer runs.
struct Limits {
    uint64_t bandwidth = 0;   ///< bytes per second; 0 = unlimited. Not for what a live guest is stopped for
    std::chrono::milliseconds downtime{300};
};

/// Who runs the engine and can stop the guest.
class SaveHost
{
public:
    virtual ~SaveHost() = default;
    virtual Limits limits() = 0;
    /// Has QEMU begin to write its device state, in the course of which it stops the guest; returns at once.
    virtual base::Result<void> beginSuspend() = 0;
    /// Returns when the guest's vCPUs stand still.
    virtual base::Result<void> awaitSuspended() = 0;
};

struct SaveOptions {
    bool live = false;         ///< send memory in rounds before the guest is stopped
    pid_t guestPid = 0;        ///< whose writes are tracked; 0: unknown
    uint32_t maxRounds = 0;    ///< give up on a guest that is still too busy after so many; 0: never
};

/// What our streams say they come from: the Xen whose format they follow.
inline constexpr stream::libxc::DomainHeader domainHeader{stream::libxc::DomainType::X86Hvm, 4, 17};

/// Write the guest to `sink` as a libxl stream, END included, and the pages that belong there
/// to `further`; nothing is flushed. When it fails after beginSuspend(), the guest may stand still:
/// the caller resumes it.
base::Result<void> save(const MemoryMap &memory, stream::Sink &sink, int deviceStatePipe,
                        const SaveOptions &options, SaveHost &host, Meter &meter,
                        const FurtherLanes<stream::Sink> &further = {});

/// Where an aligned image goes (docs/image-libvirt.md, "Aligned image").
struct ImageTarget {
    int fd = -1;                        ///< a regular file, at a multiple of 4096: the stream's first byte
    stream::AlignedIndex index;
    PageCache cache = PageCache::Use;   ///< for the pages
};

/// The same as an aligned image: several threads write, zeros stay holes. `options.live` makes
/// one round before the guest is stopped. Whatever the file had from its position on is
/// replaced; nothing is flushed.
base::Result<void> saveImage(const MemoryMap &memory, const ImageTarget &target, int deviceStatePipe,
                             const SaveOptions &options, SaveHost &host, Meter &meter);

// ---- what both have in common
/// Stop the guest, with `deviceState` reading by then: QEMU writes before it stops its guest. `meanwhile` is called while
/// the guest still runs, if only for some milliseconds.
base::Result<void> stopGuest(SaveHost &host, DeviceStateReader &deviceState, Meter &meter,
                             const std::function<base::Result<void>()> &meanwhile = {});

} // namespace godwit::engine
