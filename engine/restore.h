// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/device_state.h"
#include "engine/lanes.h"
#include "engine/memory_map.h"
#include "engine/meter.h"
#include "engine/page_cache.h"
#include "stream/fd_io.h"
#include "stream/libxl_stream.h"
#include "stream/savefile.h"

#include <optional>

namespace godwit::engine {

/// What a stream is, by the number that saved images and cookies have for it.
enum class StreamVersion : uint32_t { Legacy = 1, Libxl2 = 2 };

/// Read a stream, its end included, and the pages of `further` into memory that is all zeros;
/// returns QEMU's device state. Memory is not to be used when it fails.
base::Result<DeviceState> restore(const MemoryMap &memory, stream::Source &source, Meter &meter,
                                  StreamVersion version = StreamVersion::Libxl2,
                                  const FurtherLanes<stream::Source> &further = {});

/// A saved image of version Libxl2, plain or aligned.
struct ImageSource {
    int fd = -1;                                 ///< a regular file, at the stream's first byte
    std::optional<stream::AlignedIndex> index;   ///< of an aligned image, which must keep its word
    PageCache cache = PageCache::Use;            ///< for an aligned image's pages
    unsigned threads = 0;                        ///< that read pages; 0: what suits the machine
};

/// The same from a file, by several threads; holes in the file are not read.
base::Result<DeviceState> restoreImage(const MemoryMap &memory, const ImageSource &source, Meter &meter);

// ---- what both have in common
void beginRestore(const MemoryMap &memory, Meter &meter);
/// Whether a machine guest can take such a stream.
base::Result<void> checkDomain(const stream::libxc::DomainHeader &header);
/// Keeps a stream's device state, which QEMU takes when all of the memory is there.
struct KeptDeviceState {
    std::optional<stream::libxl::EmulatorHeader> header;
    DeviceState data;

    /// For the stream's reader; this must outlive it.
    stream::libxl::DeviceStateHandler keep();
};
/// The device state of a stream that was read to its end, at byte `offset`.
base::Result<DeviceState> endRestore(const MemoryMap &memory, Meter &meter, uint64_t offset, KeptDeviceState state);

} // namespace godwit::engine
