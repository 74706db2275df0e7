// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// Legacy streams in memory, whole and broken, and what becomes of them.

#include "stream/convert.h"
#include "tests/stream/streams.h"

namespace godwit::tests {

/// A legacy stream, field by field as docs/stream-legacy.md has them.
class LegacyStream
{
public:
    explicit LegacyStream(stream::legacy::Width width, uint64_t p2mSize = 1024);

    LegacyStream &u32(uint32_t value) { out_.u32(value); return *this; }
    LegacyStream &u64(uint64_t value) { out_.u64(value); return *this; }
    LegacyStream &word(uint64_t value);
    LegacyStream &text(std::string_view value) { out_.text(value); return *this; }
    LegacyStream &bytes(std::span<const std::byte> value) { out_.bytes(value); return *this; }
    LegacyStream &zeros(size_t count) { out_.zeros(count); return *this; }

    LegacyStream &chunk(stream::legacy::Chunk id) { return u32(static_cast<uint32_t>(id)); }
    /// A block of a PV guest's extended info, and the whole of it.
    static Bytes block(std::string_view id, size_t length, uint32_t value = 0);
    LegacyStream &extendedInfo(const Bytes &blocks);
    /// Words as they are, and a page of the pfn's low byte for each with data.
    LegacyStream &batch(const std::vector<uint32_t> &words, bool data = true);
    LegacyStream &compressed(const Bytes &body);
    LegacyStream &toolstack(const Bytes &body);
    LegacyStream &vcpus(uint32_t last, std::initializer_list<uint64_t> bitmap);
    LegacyStream &hvmTail(std::string_view context = "context");
    LegacyStream &deviceModel(std::string_view signature = "DeviceModelRecord0002", std::string_view state = "QEVM state");
    LegacyStream &pvTail(size_t context, size_t vcpus = 1);

    Bytes take() const { return {out_.data().begin(), out_.data().end()}; }

private:
    stream::legacy::Width width_;
    base::Writer out_;
};

Bytes goodLegacyHvm(stream::legacy::Width width);
Bytes goodLegacyPv(stream::legacy::Width width);
/// Three images, the later ones compressed; the third is marked as the last.
Bytes goodLegacyCheckpoints(stream::legacy::Width width);

inline stream::ConvertOptions checkpointedOptions()
{
    return {.read = {.guest = {}, .checkpointed = true}};
}

/// What convert() makes of a stream; its error, or "".
struct Conversion {
    Bytes output;
    std::string error;
    uint64_t read = 0;   ///< how much of the input
};
Conversion convertLegacy(std::span<const std::byte> data, const stream::ConvertOptions &options = {});

/// A converted stream's records as "NAME" or "NAME length", libxl's in lower case.
std::vector<std::string> recordsOf(std::span<const std::byte> converted);

/// Convert any bytes, as regular and as checkpointed: no crash, an error has a message, and
/// what is called whole can be read. False otherwise.
bool checkLegacyReader(std::span<const std::byte> data);

/// Read any bytes as what they would become: good exactly when convert() finds them good.
bool checkLegacyStreamReader(std::span<const std::byte> data);

} // namespace godwit::tests
