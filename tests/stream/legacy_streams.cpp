// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/stream/legacy_streams.h"

#include "stream/convert_reader.h"

#include <algorithm>
#include <cctype>

namespace godwit::tests {

using namespace base;
using namespace stream::legacy;
namespace libxc = stream::libxc;
namespace libxl = stream::libxl;

LegacyStream::LegacyStream(Width width, uint64_t p2mSize) : width_(width)
{
    word(p2mSize);
}

LegacyStream &LegacyStream::word(uint64_t value)
{
    return width_ == Width::Bits64 ? u64(value) : u32(static_cast<uint32_t>(value));
}

Bytes LegacyStream::block(std::string_view id, size_t length, uint32_t value)
{
    Writer out;
    out.text(id);
    out.u32(static_cast<uint32_t>(length));
    Writer body;
    body.u32(value);
    body.zeros(std::max<size_t>(length, 4) - 4);
    out.bytes(body.data().first(length));
    return out.take();
}

LegacyStream &LegacyStream::extendedInfo(const Bytes &blocks)
{
    return word(~uint64_t{0}).u32(static_cast<uint32_t>(blocks.size())).bytes(blocks);
}

LegacyStream &LegacyStream::batch(const std::vector<uint32_t> &words, bool data)
{
    u32(static_cast<uint32_t>(words.size()));
    for (const uint32_t value : words)
        word(value);
    for (const uint32_t value : words)
        if (data && value < 0xd0000000)
            bytes(Bytes(pageSize, static_cast<std::byte>(value)));
    return *this;
}

LegacyStream &LegacyStream::compressed(const Bytes &body)
{
    return chunk(Chunk::CompressedData).word(body.size()).bytes(body);
}

LegacyStream &LegacyStream::toolstack(const Bytes &body)
{
    return chunk(Chunk::Toolstack).u32(static_cast<uint32_t>(body.size())).bytes(body);
}

LegacyStream &LegacyStream::vcpus(uint32_t last, std::initializer_list<uint64_t> bitmap)
{
    chunk(Chunk::VcpuInfo).u32(last);
    for (const uint64_t word : bitmap)
        u64(word);
    return *this;
}

LegacyStream &LegacyStream::hvmTail(std::string_view context)
{
    return u64(0xa).u64(0xb).u64(0xc).u32(static_cast<uint32_t>(context.size())).text(context);
}

LegacyStream &LegacyStream::deviceModel(std::string_view signature, std::string_view state)
{
    return text(signature).u32(static_cast<uint32_t>(state.size())).text(state);
}

LegacyStream &LegacyStream::pvTail(size_t context, size_t vcpus)
{
    return u32(1).word(5).zeros(context * vcpus).zeros(pageSize);
}

static Bytes toolstackBody(Width width)
{
    Writer out;
    out.u32(1);
    out.u32(1);
    out.u64(0xf0000000);
    out.u64(0x1000);
    out.u64(0x800000);
    out.u32(5);
    out.bytes(bytesOf(std::string_view("vram\0", 5)));
    out.zeros(width == Width::Bits64 ? 4 : 0);
    return out.take();
}

Bytes goodLegacyHvm(Width width)
{
    return LegacyStream(width)
        .batch({1, 0xf0000000, 2, 0xe0000003, 0xd0000004})
        .chunk(Chunk::TscInfo).u32(1).u64(2).u32(3).u32(4)
        .chunk(Chunk::HvmConsolePfn).u32(0).u64(0x77)
        .toolstack(toolstackBody(width))
        .vcpus(0, {1}).chunk(Chunk::LastCheckpoint).chunk(Chunk::End)
        .hvmTail().deviceModel().take();
}

Bytes goodLegacyPv(Width width)
{
    return LegacyStream(width)
        .extendedInfo(concat({LegacyStream::block("vcpu", context32Length), LegacyStream::block("extv", 0),
                              LegacyStream::block("xcnt", 4, 16 + 64)}))
        .word(2)
        .batch({1, 0x10000002, 0xc0000003})
        .vcpus(65, {0, 2}).chunk(Chunk::End)
        .u32(1).word(5)
        .zeros(context32Length + extendedContextLength).u64(7).u64(64).zeros(64)
        .zeros(pageSize).take();
}

Bytes goodLegacyCheckpoints(Width width)
{
    LegacyStream out(width);
    out.batch({1, 2}).chunk(Chunk::EnableCompression).chunk(Chunk::End).hvmTail().deviceModel("RemusDeviceModelState");
    Bytes whole(1 + pageSize, std::byte{0x5a});
    whole[0] = std::byte{0x80};
    out.batch({1, 0xf0000000}, false).batch({2}, false).compressed(concat({whole, whole}))
        .chunk(Chunk::End).hvmTail().deviceModel("RemusDeviceModelState");
    Bytes runs = bytesOf("\x01" "new!");   // one new word, 1023 = 8 * 127 + 7 old ones
    runs.insert(runs.end(), 8, std::byte{0xff});
    runs.push_back(std::byte{0x87});
    out.batch({1, 2}, false).compressed(concat({runs, Bytes(1)}))
        .chunk(Chunk::LastCheckpoint).chunk(Chunk::End).hvmTail().deviceModel("RemusDeviceModelState");
    return out.take();
}

Conversion convertLegacy(std::span<const std::byte> data, const stream::ConvertOptions &options)
{
    MemorySource source(data);
    MemorySink sink;
    const auto result = stream::convert(source, sink, options);
    return {std::move(sink.data), result ? "" : result.error().message, source.offset()};
}

static std::string shown(std::string name, uint32_t length, bool lower)
{
    if (lower)
        std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return length == 0 ? name : name + " " + std::to_string(length);
}

std::vector<std::string> recordsOf(std::span<const std::byte> converted)
{
    std::vector<std::string> out;
    bool inLibxc = false;
    Reader in(converted);
    (void)in.bytes(libxl::headerSize).has_value();
    while (in.left() > 0) {
        const uint32_t type = in.u32().value_or(~0u);
        const uint32_t length = in.u32().value_or(~0u);
        const auto *outer = libxl::findRecord(type);
        const auto *inner = libxc::findRecord(type);
        if (!in.bytes(length + stream::recordPadding(length)) || (inLibxc ? !inner : !outer)) {
            out.emplace_back("broken");
            return out;
        }
        out.push_back(shown(inLibxc ? inner->name : outer->name, length, !inLibxc));
        if (!inLibxc && outer->type == libxl::RecordType::LibxcContext)
            (void)in.bytes(libxc::imageHeaderSize + libxc::domainHeaderSize).has_value();
        if (inLibxc)
            inLibxc = inner->type != libxc::RecordType::End && inner->type != libxc::RecordType::Checkpoint;
        else
            inLibxc = outer->type == libxl::RecordType::LibxcContext || outer->type == libxl::RecordType::CheckpointEnd;
    }
    return out;
}

bool checkLegacyReader(std::span<const std::byte> data)
{
    for (const bool checkpointed : {false, true}) {
        const auto done = convertLegacy(data, checkpointed ? checkpointedOptions() : stream::ConvertOptions{});
        if (done.read > data.size())
            return false;
        if (!done.error.empty())
            continue;
        const auto records = recordsOf(done.output);
        if (records.empty() || records.back() != "end")
            return false;
        MemorySource source(done.output);
        RecordingHandler handler(0);
        if (checkpointed)
            continue;
        // The handler has no memory: pages are the only thing it refuses.
        const auto read = readLibxl(source, handler);
        if (!read && read.error().message.find("no such page") == std::string::npos)
            return false;
    }
    return true;
}

bool checkLegacyStreamReader(std::span<const std::byte> data)
{
    MemorySource source(data);
    SkippingHandler handler;
    const auto state = readLegacy(source, handler);
    if (source.offset() > data.size() || (!state && state.error().message.empty()))
        return false;
    return state.has_value() == convertLegacy(data).error.empty();
}

} // namespace godwit::tests
