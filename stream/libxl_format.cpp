// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stream/libxl_format.h"

#include "base/bytes.h"
#include "base/i18n.h"

namespace godwit::stream::libxl {

using namespace base;

const RecordInfo *findRecord(uint32_t type)
{
    for (const RecordInfo &info : records)
        if (static_cast<uint32_t>(info.type) == type)
            return &info;
    return nullptr;
}

std::vector<std::byte> encodeHeader(const Header &header)
{
    Writer out(ByteOrder::big);
    out.u64(ident);
    out.u32(version);
    out.u32(header.legacy ? optionLegacy : 0);
    return out.take();
}

Result<Header> decodeHeader(std::span<const std::byte> raw)
{
    Reader in(raw, ByteOrder::big);
    if (TRY(in.u64()) != ident)
        return makeError(ErrorCode::BadFormat, tr("this is no libxl stream: its identification is wrong"));
    const uint32_t found = TRY(in.u32());
    if (found != version)
        return makeError(ErrorCode::BadFormat, tr("libxl stream version %u is not known (2 is)"), found);
    const uint32_t options = TRY(in.u32());
    if (options & optionBigEndian)
        return makeError(ErrorCode::Unsupported, tr("the stream is big-endian"));
    if (options & ~optionLegacy)
        return makeError(ErrorCode::BadFormat, tr("unknown options 0x%x"), options);
    TRY(in.atEnd());
    return Header{options == optionLegacy};
}

std::vector<std::byte> encodeEmulatorHeader(const EmulatorHeader &header)
{
    Writer out;
    out.u32(static_cast<uint32_t>(header.emulator));
    out.u32(header.index);
    return out.take();
}

Result<EmulatorHeader> decodeEmulatorHeader(std::span<const std::byte> raw)
{
    Reader in(raw);
    EmulatorHeader header;
    const uint32_t emulator = TRY(in.u32());
    if (emulator > static_cast<uint32_t>(Emulator::QemuUpstream))
        return makeError(ErrorCode::BadFormat, tr("emulator %u is not known"), emulator);
    header.emulator = static_cast<Emulator>(emulator);
    header.index = TRY(in.u32());
    TRY(in.atEnd());
    return header;
}

} // namespace godwit::stream::libxl
