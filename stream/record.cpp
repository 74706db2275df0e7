// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stream/record.h"

#include "base/bytes.h"

#include <algorithm>
#include <array>

namespace godwit::stream {

using namespace base;

Result<RecordHeader> readRecordHeader(Source &source)
{
    std::array<std::byte, recordHeaderSize> raw;
    TRY(source.read(raw));
    Reader in(raw);
    RecordHeader header;
    header.type = TRY(in.u32());
    header.length = TRY(in.u32());
    return header;
}

Result<void> readRecordPadding(Source &source, uint32_t length)
{
    std::array<std::byte, recordAlignment> raw;
    const auto padding = std::span(raw).first(recordPadding(length));
    TRY(source.read(padding));
    return Reader(padding).zeros(padding.size());
}

Result<std::vector<std::byte>> readRecordBody(Source &source, uint32_t length)
{
    std::vector<std::byte> body;
    TRY(source.append(body, length));
    TRY(readRecordPadding(source, length));
    return body;
}

Result<void> skipRecordBody(Source &source, uint32_t length)
{
    TRY(source.skip(length));
    return readRecordPadding(source, length);
}

static Writer encode(const RecordHeader &header)
{
    Writer out;
    out.u32(header.type);
    out.u32(header.length);
    return out;
}

static std::span<const std::byte> padding(uint32_t length)
{
    static constexpr std::array<std::byte, recordAlignment> zeros{};
    return std::span(zeros).first(recordPadding(length));
}

Result<void> writeRecord(Sink &sink, uint32_t type, std::span<const std::span<const std::byte>> parts)
{
    uint64_t length = 0;
    for (const auto &body : parts)
        length += body.size();
    const RecordHeader header{type, static_cast<uint32_t>(length)};
    const Writer head = encode(header);
    std::vector<iovec> out{part(head.data().data(), head.size())};
    for (const auto &body : parts)
        out.push_back(part(body.data(), body.size()));
    const auto zeros = padding(header.length);
    out.push_back(part(zeros.data(), zeros.size()));
    return sink.write(out);
}

Result<void> writeRecord(Sink &sink, uint32_t type, std::span<const std::byte> body)
{
    const std::array parts{body};
    return writeRecord(sink, type, parts);
}

Result<void> writeRecord(Sink &sink, uint32_t type, std::span<const std::byte> head, uint32_t length,
                         const std::function<Result<void>()> &writeRest)
{
    const RecordHeader header{type, static_cast<uint32_t>(head.size()) + length};
    Writer front = encode(header);
    front.bytes(head);
    TRY(sink.write(front.data()));
    const uint64_t end = sink.offset() + length;
    TRY(writeRest());
    if (sink.offset() != end)
        return makeError(ErrorCode::Internal, "a record's body was not written exactly");
    return sink.write(padding(header.length));
}

} // namespace godwit::stream
