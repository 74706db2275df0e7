// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/memory_map.h"
#include "engine/meter.h"
#include "stream/fd_io.h"

#include <vector>

namespace godwit::engine {

/// What a stream is, by the number that saved images and cookies have for it.
enum class StreamVersion : uint32_t { Legacy = 1, Libxl2 = 2 };

/// Read a stream, its end included, into memory that is all zeros; returns QEMU's device
/// state. Memory is not to be used when it fails.
base::Result<std::vector<std::byte>> restore(const MemoryMap &memory, stream::Source &source, Meter &meter,
                                             StreamVersion version = StreamVersion::Libxl2);

} // namespace godwit::engine
