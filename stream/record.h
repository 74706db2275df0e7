// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// The frame that libxc and libxl records share: u32 type, u32 length, body, zeros up to a
// multiple of 8 bytes; in the stream's byte order, of which we take only little-endian.

#include "base/result.h"
#include "stream/fd_io.h"

#include <cstdint>
#include <functional>
#include <vector>

namespace godwit::stream {

inline constexpr size_t recordHeaderSize = 8;
inline constexpr size_t recordAlignment = 8;

constexpr size_t recordPadding(uint64_t length)
{
    return static_cast<size_t>(-length % recordAlignment);
}

struct RecordHeader {
    uint32_t type = 0;
    uint32_t length = 0;
};

base::Result<RecordHeader> readRecordHeader(Source &source);

/// A body whose length is already checked, and its padding. Memory grows as bytes come.
base::Result<std::vector<std::byte>> readRecordBody(Source &source, uint32_t length);

/// Go past a body and its padding.
base::Result<void> skipRecordBody(Source &source, uint32_t length);
/// What stands behind a body of this length.
base::Result<void> readRecordPadding(Source &source, uint32_t length);

/// A whole record, scattered: the body is `parts` in order.
base::Result<void> writeRecord(Sink &sink, uint32_t type, std::span<const std::span<const std::byte>> parts);
base::Result<void> writeRecord(Sink &sink, uint32_t type, std::span<const std::byte> body = {});
/// The same with a body of `head` and `length` more bytes, which `writeRest` writes to the sink.
base::Result<void> writeRecord(Sink &sink, uint32_t type, std::span<const std::byte> head, uint32_t length,
                               const std::function<base::Result<void>()> &writeRest);

} // namespace godwit::stream
