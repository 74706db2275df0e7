// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stream/xl_savefile.h"

#include "base/i18n.h"

namespace godwit::stream {

using namespace base;

static constexpr std::string_view xlMagic{"Xen saved domain, xl format\n \0 \r", 32};
static constexpr uint32_t orderMark = 0x01020304;
static constexpr uint32_t knownFlags = xlFlagJson | xlFlagStreamV2;

bool isXlSavefile(std::span<const std::byte> start)
{
    return asText(start).starts_with(xlMagic);
}

static Result<ByteOrder> findXlOrder(std::span<const std::byte> mark)
{
    for (ByteOrder order : {ByteOrder::little, ByteOrder::big})
        if (TRY(Reader(mark, order).u32()) == orderMark)
            return order;
    return makeError(ErrorCode::BadFormat, tr("the mark of xl's byte order is wrong"));
}

Result<XlSavefileHeader> decodeXlSavefileHeader(std::span<const std::byte> raw)
{
    if (raw.size() < xlSavefileHeaderSize)
        return makeError(ErrorCode::BadFormat, tr("the image ends inside its header, at byte %zu"), raw.size());
    if (!isXlSavefile(raw))
        return makeError(ErrorCode::BadFormat, tr("this is no image of xl: its magic is wrong"));
    XlSavefileHeader header;
    header.order = TRY(findXlOrder(raw.subspan(xlMagic.size(), sizeof orderMark)));
    Reader in(raw.subspan(xlMagic.size() + sizeof orderMark), header.order);
    header.mandatoryFlags = TRY(in.u32());
    header.optionalFlags = TRY(in.u32());
    header.dataLength = TRY(in.u32());
    if (header.mandatoryFlags & ~knownFlags)
        return makeError(ErrorCode::BadFormat, tr("xl's image has unknown mandatory flags 0x%x"),
                         header.mandatoryFlags & ~knownFlags);
    if (header.dataLength > maxXlData)
        return makeError(ErrorCode::BadFormat, tr("xl's image claims %u bytes of optional data (%u are allowed)"),
                         header.dataLength, maxXlData);
    return header;
}

Result<std::optional<std::string_view>> findXlSavefileConfig(const XlSavefileHeader &header, std::span<const std::byte> data)
{
    if (data.size() != header.dataLength)
        return makeError(ErrorCode::BadFormat, tr("the image ends inside its optional data, after %zu of %u bytes"),
                         data.size(), header.dataLength);
    if (data.empty())
        return std::optional<std::string_view>();
    Reader in(data, header.order);
    const uint32_t length = TRY(in.u32());
    if (length > in.left())
        return makeError(ErrorCode::BadFormat, tr("the configuration claims %u bytes of %zu"), length, in.left());
    return std::optional(asText(TRY(in.bytes(length))));
}

Result<std::optional<std::string>> decodeXlSavefileData(const XlSavefileHeader &header, std::span<const std::byte> data)
{
    const auto config = TRY(findXlSavefileConfig(header, data));
    return config ? std::optional(std::string(*config)) : std::nullopt;
}

Result<std::vector<std::byte>> encodeXlSavefile(const XlSavefile &savefile)
{
    Writer data(savefile.header.order);
    if (savefile.config) {
        if (savefile.config->size() > maxXlData - sizeof(uint32_t))
            return makeError(ErrorCode::InvalidArgument, tr("the configuration is too long: %zu bytes"),
                             savefile.config->size());
        data.u32(static_cast<uint32_t>(savefile.config->size()));
        data.text(*savefile.config);
    }
    Writer out(savefile.header.order);
    out.text(xlMagic);
    out.u32(orderMark);
    out.u32(savefile.header.mandatoryFlags);
    out.u32(savefile.header.optionalFlags);
    out.u32(static_cast<uint32_t>(data.size()));
    out.bytes(data.data());
    return out.take();
}

Result<XlSavefileHeader> readXlSavefileHead(Source &source, std::vector<std::byte> &head)
{
    TRY(source.appendUpTo(head, xlSavefileHeaderSize - head.size()));
    const XlSavefileHeader header = TRY(decodeXlSavefileHeader(head));
    TRY(source.appendUpTo(head, header.dataLength));
    return header;
}

Result<XlSavefile> readXlSavefile(int fd)
{
    FdSource source(fd);
    std::vector<std::byte> head;
    XlSavefile out;
    out.header = TRY(readXlSavefileHead(source, head));
    out.config = TRY(decodeXlSavefileData(out.header, std::span(head).subspan(xlSavefileHeaderSize)));
    out.streamOffset = source.offset();
    return out;
}

} // namespace godwit::stream
