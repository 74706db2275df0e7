// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stream/libxc_writer.h"

#include "base/bytes.h"

#include <bit>

namespace godwit::stream::libxc {

using namespace base;

static_assert(std::endian::native == std::endian::little, "page words are written as they are");

static Result<void> write(Sink &sink, RecordType type, std::span<const std::byte> body = {})
{
    return writeRecord(sink, static_cast<uint32_t>(type), body);
}

Result<void> writeHead(Sink &sink, const DomainHeader &header)
{
    TRY(sink.write(encodeImageHeader()));
    TRY(sink.write(encodeDomainHeader(header)));
    return write(sink, RecordType::StaticDataEnd);
}

Result<void> writePages(Sink &sink, std::span<const uint64_t> words, std::vector<iovec> &data)
{
    size_t dataLength = 0;
    for (const iovec &piece : data)
        dataLength += piece.iov_len;
    const size_t length = 8 + words.size_bytes() + dataLength;
    if (words.empty() || words.size() > maxPagesPerRecord || length > maxRecordLength)
        return makeError(ErrorCode::Internal, "PAGE_DATA of %zu pages and %zu bytes", words.size(), length);
    Writer head;
    head.u32(static_cast<uint32_t>(RecordType::PageData));
    head.u32(static_cast<uint32_t>(length));
    head.u32(static_cast<uint32_t>(words.size()));
    head.zeros(4);
    const iovec front[] = {part(head.data().data(), head.size()), part(words.data(), words.size_bytes())};
    data.insert(data.begin(), std::begin(front), std::end(front));
    return sink.write(data);   // pages and words are multiples of 8: no padding
}

Result<void> writeEnd(Sink &sink)
{
    return write(sink, RecordType::End);
}

Result<void> writeHvmTail(Sink &sink, const TscInfo &tsc, std::span<const std::byte> context,
                          std::span<const HvmParam> params)
{
    TRY(write(sink, RecordType::X86TscInfo, encodeTscInfo(tsc)));
    TRY(write(sink, RecordType::HvmContext, context));
    TRY(write(sink, RecordType::HvmParams, encodeHvmParams(params)));
    return writeEnd(sink);
}

} // namespace godwit::stream::libxc
