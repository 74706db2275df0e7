// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stream/libxl_format.h"

#include "base/bytes.h"
#include "base/i18n.h"

#include <algorithm>

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

static Result<void> checkKey(std::string_view key)
{
    const auto allowed = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '-' || c == '/' || c == '_' || c == '@';
    };
    if (key.empty() || !std::ranges::all_of(key, allowed))
        return makeError(ErrorCode::BadFormat, tr("has a key that xenstore does not allow"));
    return {};
}

Result<std::vector<std::byte>> encodeXenstorePairs(std::span<const XenstorePair> pairs)
{
    Writer out;
    for (const XenstorePair &pair : pairs) {
        TRY(checkKey(pair.key));
        if (pair.value.find('\0') != pair.value.npos)
            return makeError(ErrorCode::InvalidArgument, tr("the value of %s has a NUL inside"), pair.key.c_str());
        out.text(pair.key);
        out.zeros(1);
        out.text(pair.value);
        out.zeros(1);
    }
    return out.take();
}

Result<std::vector<XenstorePair>> decodeXenstorePairs(std::span<const std::byte> data)
{
    std::string_view text = asText(data);
    std::vector<XenstorePair> pairs;
    while (!text.empty()) {
        const size_t keyEnd = text.find('\0');
        const size_t valueEnd = keyEnd == text.npos ? text.npos : text.find('\0', keyEnd + 1);
        if (valueEnd == text.npos)
            return makeError(ErrorCode::BadFormat, tr("ends inside a key and its value"));
        if (pairs.size() == maxXenstorePairs)
            return makeError(ErrorCode::BadFormat, tr("has more than %zu keys"), maxXenstorePairs);
        TRY(checkKey(text.substr(0, keyEnd)));
        pairs.push_back({std::string(text.substr(0, keyEnd)), std::string(text.substr(keyEnd + 1, valueEnd - keyEnd - 1))});
        text.remove_prefix(valueEnd + 1);
    }
    return pairs;
}

std::vector<std::byte> encodeCheckpointState(CheckpointState state)
{
    Writer out;
    out.u32(static_cast<uint32_t>(state));
    return out.take();
}

Result<CheckpointState> decodeCheckpointState(std::span<const std::byte> body)
{
    Reader in(body);
    const uint32_t state = TRY(in.u32());
    TRY(in.atEnd());
    if (state > static_cast<uint32_t>(CheckpointState::Resumed))
        return makeError(ErrorCode::BadFormat, tr("checkpoint state %u is not known"), state);
    return static_cast<CheckpointState>(state);
}

} // namespace godwit::stream::libxl
