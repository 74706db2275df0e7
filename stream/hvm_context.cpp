// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stream/hvm_context.h"

#include "base/bytes.h"
#include "base/i18n.h"

namespace godwit::stream::hvm {

using namespace base;

const char *nameOf(EntryType type)
{
    for (const EntryInfo &info : entryTypes)
        if (info.type == type)
            return info.name;
    return nullptr;
}

EntryHead decodeEntryHead(std::span<const std::byte, entryHeadSize> raw)
{
    Reader in(raw);
    EntryHead head;
    head.type = static_cast<EntryType>(in.u16().value());
    head.instance = in.u16().value();
    head.length = in.u32().value();
    return head;
}

Result<Header> decodeHeader(std::span<const std::byte> data)
{
    Reader in(data);
    if (TRY(in.u32()) != magic)
        return makeError(ErrorCode::BadFormat, tr("the HVM context's magic is wrong"));
    const uint32_t found = TRY(in.u32());
    if (found != version)
        return makeError(ErrorCode::BadFormat, tr("HVM context version %u is not known (1 is)"), found);
    Header header;
    header.changeset = TRY(in.u64());
    header.cpuid = TRY(in.u32());
    header.tscKHz = TRY(in.u32());
    TRY(in.atEnd());
    return header;
}

static void encodeEntry(Writer &out, EntryType type, uint16_t instance, std::span<const std::byte> data)
{
    out.u16(static_cast<uint16_t>(type));
    out.u16(instance);
    out.u32(static_cast<uint32_t>(data.size()));
    out.bytes(data);
}

std::vector<std::byte> encodeContext(const Context &context)
{
    Writer header;
    header.u32(magic);
    header.u32(version);
    header.u64(context.header.changeset);
    header.u32(context.header.cpuid);
    header.u32(context.header.tscKHz);
    Writer out;
    encodeEntry(out, EntryType::Header, 0, header.data());
    for (const Entry &entry : context.entries)
        encodeEntry(out, entry.type, entry.instance, entry.data);
    encodeEntry(out, EntryType::End, 0, {});
    return out.take();
}

Result<Context> decodeContext(std::span<const std::byte> body)
{
    Reader in(body);
    Context context;
    for (size_t count = 0; count <= maxEntries; count++) {
        const EntryHead head = decodeEntryHead(TRY(in.bytes(entryHeadSize)).first<entryHeadSize>());
        const auto data = TRY(in.bytes(head.length));
        if ((head.type == EntryType::Header) != (count == 0))
            return makeError(ErrorCode::BadFormat, tr("the HVM context's header is not its first entry"));
        if (head.type == EntryType::Header) {
            context.header = TRY(decodeHeader(data));
            continue;
        }
        if (head.type != EntryType::End) {
            context.entries.push_back({head.type, head.instance, data});
            continue;
        }
        if (head.length != 0 || in.left() != 0)
            return makeError(ErrorCode::BadFormat, tr("the HVM context goes on after its end"));
        return context;
    }
    return makeError(ErrorCode::BadFormat, tr("the HVM context has more than %zu entries"), maxEntries);
}

} // namespace godwit::stream::hvm
