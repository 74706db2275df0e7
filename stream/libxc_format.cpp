// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stream/libxc_format.h"

#include "base/bytes.h"
#include "base/i18n.h"
#include "stream/hvm_context.h"

namespace godwit::stream::libxc {

using namespace base;

const RecordInfo *findRecord(uint32_t type)
{
    for (const RecordInfo &info : records)
        if (static_cast<uint32_t>(info.type) == type)
            return &info;
    return nullptr;
}

Result<PageWord> decodePageWord(uint64_t word)
{
    const PageWord out{Pfn{word & pfnMask}, static_cast<PageType>(word >> pageTypeShift)};
    if (word >> 52 & 0xff)
        return makeError(ErrorCode::BadFormat, tr("reserved bits in the page word 0x%016llx"),
                         static_cast<unsigned long long>(word));
    if (!isValid(out.type))
        return makeError(ErrorCode::BadFormat, tr("invalid page type in the page word 0x%016llx"),
                         static_cast<unsigned long long>(word));
    return out;
}

std::vector<std::byte> encodeImageHeader()
{
    Writer out(ByteOrder::big);
    out.u64(marker);
    out.u32(ident);
    out.u32(currentVersion);
    out.u16(0);   // options: little-endian
    out.zeros(6);
    return out.take();
}

Result<uint32_t> decodeImageHeader(std::span<const std::byte> header)
{
    Reader in(header, ByteOrder::big);
    if (TRY(in.u64()) != marker)
        return makeError(ErrorCode::BadFormat, tr("the marker is wrong: this may be a legacy stream"));
    if (TRY(in.u32()) != ident)
        return makeError(ErrorCode::BadFormat, tr("the identification is wrong"));
    const uint32_t version = TRY(in.u32());
    if (version < oldestVersion || version > currentVersion)
        return makeError(ErrorCode::BadFormat, tr("version %u is not known (2 and 3 are)"), version);
    const uint16_t options = TRY(in.u16());
    if (options & optionBigEndian)
        return makeError(ErrorCode::Unsupported, tr("the stream is big-endian"));
    if (options != 0)
        return makeError(ErrorCode::BadFormat, tr("unknown options 0x%x"), options);
    TRY(in.zeros(6));
    TRY(in.atEnd());
    return version;
}

std::vector<std::byte> encodeDomainHeader(const DomainHeader &header)
{
    Writer out;
    out.u32(static_cast<uint32_t>(header.type));
    out.u16(pageShift);
    out.zeros(2);
    out.u32(header.xenMajor);
    out.u32(header.xenMinor);
    return out.take();
}

Result<DomainHeader> decodeDomainHeader(std::span<const std::byte> raw)
{
    Reader in(raw);
    DomainHeader header;
    const uint32_t type = TRY(in.u32());
    if (type != static_cast<uint32_t>(DomainType::X86Pv) && type != static_cast<uint32_t>(DomainType::X86Hvm))
        return makeError(ErrorCode::BadFormat, tr("guest type %u is not known"), type);
    header.type = static_cast<DomainType>(type);
    const uint16_t shift = TRY(in.u16());
    if (shift != pageShift)
        return makeError(ErrorCode::BadFormat, tr("pages of 2^%u bytes"), shift);
    TRY(in.zeros(2));
    header.xenMajor = TRY(in.u32());
    header.xenMinor = TRY(in.u32());
    TRY(in.atEnd());
    return header;
}

std::vector<std::byte> encodeTscInfo(const TscInfo &tsc)
{
    Writer out;
    out.u32(tsc.mode);
    out.u32(tsc.kHz);
    out.u64(tsc.nanoseconds);
    out.u32(tsc.incarnation);
    out.zeros(4);
    return out.take();
}

Result<TscInfo> decodeTscInfo(std::span<const std::byte> body)
{
    Reader in(body);
    TscInfo tsc;
    tsc.mode = TRY(in.u32());
    tsc.kHz = TRY(in.u32());
    tsc.nanoseconds = TRY(in.u64());
    tsc.incarnation = TRY(in.u32());
    TRY(in.zeros(4));
    TRY(in.atEnd());   // a longer body is somebody else's record
    return tsc;
}

std::vector<std::byte> encodeHvmParams(std::span<const HvmParam> params)
{
    Writer out;
    out.u32(static_cast<uint32_t>(params.size()));
    out.zeros(4);
    for (const HvmParam &param : params) {
        out.u64(param.index);
        out.u64(param.value);
    }
    return out.take();
}

Result<std::vector<HvmParam>> decodeHvmParams(std::span<const std::byte> body)
{
    Reader in(body);
    const uint32_t count = TRY(in.u32());
    TRY(in.zeros(4));
    std::vector<HvmParam> params;
    for (uint32_t i = 0; i < count; i++) {
        HvmParam &param = params.emplace_back();
        param.index = TRY(in.u64());
        param.value = TRY(in.u64());
    }
    TRY(in.atEnd());
    return params;
}

std::vector<std::byte> encodeEmptyHvmContext()
{
    return hvm::encodeContext({});
}

} // namespace godwit::stream::libxc
