// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stream/legacy_format.h"

#include "base/bytes.h"
#include "base/i18n.h"
#include "base/strprintf.h"
#include "stream/libxl_format.h"

#include <algorithm>

namespace godwit::stream::legacy {

using namespace base;

Result<Sniffed> sniff(std::span<const std::byte, sniffLength> raw)
{
    Reader big(raw, ByteOrder::big);
    const uint64_t first = TRY(big.u64());
    if (first == libxc::marker)
        return makeError(ErrorCode::BadFormat, tr("this is a libxc stream of version 2 or later"));
    if (first == libxl::ident)
        return makeError(ErrorCode::BadFormat, tr("this is a libxl stream of version 2 or later"));
    Reader in(raw);
    Sniffed out;
    out.p2mSize = TRY(in.u32());
    const uint32_t upper = TRY(in.u32());
    // No guest has 2^32 pages: with 64 bits the upper half is 0. With 32 bits this is the
    // mark of extended info or a chunk's id, and a stream without any chunk is none.
    out.width = upper == 0 ? Width::Bits64 : Width::Bits32;
    if (upper != 0)
        out.next = upper;
    return out;
}

const ChunkInfo *findChunk(int32_t id)
{
    for (const ChunkInfo &info : chunks)
        if (static_cast<int32_t>(info.id) == id)
            return &info;
    return nullptr;
}

Result<libxc::PageWord> decodePageWord(uint64_t word)
{
    const libxc::PageWord out{Pfn{word & 0x0fffffff}, static_cast<libxc::PageType>(word >> 28 & 0xf)};
    if (word >> 32)
        return makeError(ErrorCode::BadFormat, tr("bits above 31 in the page word 0x%016llx"),
                         static_cast<unsigned long long>(word));
    if (!isValid(out.type))
        return makeError(ErrorCode::BadFormat, tr("invalid page type in the page word 0x%08llx"),
                         static_cast<unsigned long long>(word));
    return out;
}

uint64_t decodeParam(std::span<const std::byte, paramLength> raw)
{
    return Reader(raw.subspan<4>()).u64().value();
}

libxc::TscInfo decodeTscInfo(std::span<const std::byte, tscLength> raw)
{
    Reader in(raw);
    libxc::TscInfo tsc;
    tsc.mode = in.u32().value();
    tsc.nanoseconds = in.u64().value();
    tsc.kHz = in.u32().value();
    tsc.incarnation = in.u32().value();
    return tsc;
}

static Result<Physmap> decodePhysmap(Reader &in, Width width)
{
    Physmap map;
    map.physical = TRY(in.u64());
    map.start = TRY(in.u64());
    map.size = TRY(in.u64());
    const uint32_t length = TRY(in.u32());
    if (length == 0)
        return makeError(ErrorCode::BadFormat, tr("has no name"));
    const std::string_view name = asText(TRY(in.bytes(length)));
    if (name.find('\0') != length - 1)
        return makeError(ErrorCode::BadFormat, tr("has a name that does not end with its only NUL"));
    map.name = name.substr(0, length - 1);
    // A struct's padding, which 64-bit senders wrote behind the name instead of before it.
    if (width == Width::Bits64)
        TRY(in.bytes(4));
    return map;
}

Result<std::vector<Physmap>> decodeToolstack(std::span<const std::byte> body, Width width)
{
    Reader in(body);
    const uint32_t version = TRY(in.u32());
    if (version != 1)
        return makeError(ErrorCode::Unsupported, tr("version %u is not known (1 is)"), version);
    const uint32_t count = TRY(in.u32());
    std::vector<Physmap> out;
    for (uint32_t i = 0; i < count; i++)
        out.push_back(TRY_IN(strprintf(tr("physmap %u"), i), decodePhysmap(in, width)));
    TRY(in.atEnd());
    return out;
}

std::vector<std::byte> encodeXenstoreData(std::span<const Physmap> physmaps)
{
    Writer out;
    const auto pair = [&out](const Physmap &map, const char *key, const std::string &value) {
        out.text(strprintf("physmap/%llx/%s", static_cast<unsigned long long>(map.physical), key));
        out.u8(0);
        out.text(value);
        out.u8(0);
    };
    for (const Physmap &map : physmaps) {
        pair(map, "start_addr", strprintf("%llx", static_cast<unsigned long long>(map.start)));
        pair(map, "size", strprintf("%llx", static_cast<unsigned long long>(map.size)));
        pair(map, "name", map.name);
    }
    return out.take();
}

Result<DeviceModelInfo> findDeviceModel(std::string_view signature)
{
    for (const DeviceModelInfo &info : deviceModels)
        if (info.signature == signature)
            return info;
    std::string shown(signature);
    std::ranges::replace_if(shown, [](char c) { return c < ' ' || c > '~'; }, '.');
    return makeError(ErrorCode::BadFormat, tr("signature '%s' is not known"), shown.c_str());
}

} // namespace godwit::stream::legacy
