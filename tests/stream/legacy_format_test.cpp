// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/strprintf.h"
#include "tests/stream/legacy_streams.h"

#include <fstream>
#include <gtest/gtest.h>
#include <sstream>

namespace godwit::tests {

using namespace base;
using namespace stream::legacy;
using stream::libxc::PageType;
using stream::libxc::PageWord;

namespace {

Result<Sniffed> sniffed(uint64_t value)
{
    Writer out;
    out.u64(value);
    return sniff(std::span<const std::byte, sniffLength>(out.data()));
}

Bytes physmap(std::string_view name, Width width)
{
    Writer out;
    out.u64(0xabc);
    out.u64(0x10);
    out.u64(0);
    out.u32(static_cast<uint32_t>(name.size()));
    out.text(name);
    out.zeros(width == Width::Bits64 ? 4 : 0);
    return out.take();
}

Bytes toolstack(uint32_t version, uint32_t count, const Bytes &maps)
{
    Writer out;
    out.u32(version);
    out.u32(count);
    out.bytes(maps);
    return out.take();
}

const std::string_view vram("vram\0", 5);

} // namespace

TEST(LegacyWidth, IsTheOneThatTheFirstBytesTell)
{
    EXPECT_EQ(sniffed(0x100000)->width, Width::Bits64);
    EXPECT_EQ(sniffed(0x100000)->p2mSize, 0x100000u);
    EXPECT_FALSE(sniffed(0x100000)->next);
    EXPECT_EQ(sniffed(0xffffffff00100000)->width, Width::Bits32);
    EXPECT_EQ(sniffed(0xffffffff00100000)->next, extendedInfoMark);
    EXPECT_EQ(sniffed(0x0000040000100000)->next, 0x400u);
}

TEST(LegacyWidth, IsNotToldByLaterStreams)
{
    EXPECT_EQ(sniffed(~uint64_t{0}).error().message, "this is a libxc stream of version 2 or later");
    EXPECT_EQ(sniffed(__builtin_bswap64(stream::libxl::ident)).error().message,
              "this is a libxl stream of version 2 or later");
}

TEST(LegacyPageWord, BecomesALaterOneOfTheSameTypeAndPage)
{
    for (uint64_t type = 0; type < 16; type++) {
        const auto word = decodePageWord(type << 28 | 0x0fedcba9);
        EXPECT_EQ(word.has_value(), type < 5 || type > 8) << type;
        const PageWord expected{Pfn{0x0fedcba9}, static_cast<PageType>(type)};
        EXPECT_EQ(word.value_or(expected), expected);
    }
    for (unsigned bit = 32; bit < 64; bit++)
        EXPECT_FALSE(decodePageWord(uint64_t{1} << bit)) << bit;
}

TEST(LegacyToolstack, IsReadInBothWidths)
{
    for (const Width width : {Width::Bits32, Width::Bits64}) {
        const Bytes body = toolstack(1, 2, concat({physmap(vram, width), physmap(std::string_view("\0", 1), width)}));
        const auto maps = decodeToolstack(body, width);
        ASSERT_TRUE(maps) << maps.error().message;
        EXPECT_EQ(*maps, (std::vector<Physmap>{{0xabc, 0x10, 0, "vram"}, {0xabc, 0x10, 0, ""}}));
        for (size_t length = 0; length < body.size(); length++)
            EXPECT_FALSE(decodeToolstack(std::span(body).first(length), width)) << length;
        EXPECT_FALSE(decodeToolstack(concat({body, Bytes(1)}), width));
        EXPECT_FALSE(decodeToolstack(body, width == Width::Bits32 ? Width::Bits64 : Width::Bits32));
    }
}

TEST(LegacyToolstack, RefusesOtherVersionsCountsAndNames)
{
    const auto errorOf = [](const Bytes &body) {
        const auto maps = decodeToolstack(body, Width::Bits32);
        return maps ? "" : maps.error().message;
    };
    EXPECT_EQ(errorOf(toolstack(1, 0, {})), "");
    EXPECT_EQ(errorOf(toolstack(2, 0, {})), "version 2 is not known (1 is)");
    EXPECT_NE(errorOf(toolstack(1, 0xffffffff, physmap(vram, Width::Bits32))), "");
    EXPECT_EQ(errorOf(toolstack(1, 1, physmap("", Width::Bits32))), "physmap 0: has no name");
    EXPECT_NE(errorOf(toolstack(1, 1, physmap("vram", Width::Bits32))), "") << "no NUL";
    EXPECT_NE(errorOf(toolstack(1, 1, physmap(std::string_view("a\0b\0", 4), Width::Bits32))), "") << "two NULs";
}

TEST(LegacyToolstack, BecomesKeysAndValues)
{
    const std::array<Physmap, 1> maps{{{0xf0000000, 0x1000, 0x800000, "vram"}}};
    const std::string_view expected("physmap/f0000000/start_addr\0001000\0"
                                    "physmap/f0000000/size\000800000\0"
                                    "physmap/f0000000/name\0vram\0", 33 + 29 + 27);
    EXPECT_EQ(asText(encodeXenstoreData(maps)), expected);
}

TEST(LegacyDeviceModel, HasThreeSignatures)
{
    for (const auto &info : deviceModels) {
        EXPECT_EQ(info.signature.size(), signatureLength);
        EXPECT_EQ(findDeviceModel(info.signature)->kind, info.kind);
    }
    EXPECT_EQ(findDeviceModel(std::string_view("DeviceModelRecord\0003", 19)).error().message, "signature 'DeviceModelRecord.3' is not known");
}

TEST(LegacyDocument, HasExactlyTheChunksAndSignaturesOfTheCode)
{
    std::ifstream file(GODWIT_DOCS "/stream-legacy.md");
    std::stringstream whole;
    whole << file.rdbuf();
    const std::string text = whole.str();
    size_t rows = 0;
    for (size_t at = text.find("\n| -"); at != text.npos; at = text.find("\n| -", at + 1))
        rows += text[at + 4] != '-' ? 1 : 0;
    EXPECT_EQ(rows, chunks.size() - 1);
    for (const ChunkInfo &info : chunks) {
        std::string row = strprintf("| %d | %s |", static_cast<int>(info.id), info.name);
        if (info.body == Body::Param)
            row += strprintf(" HVM parameter %u |", info.hvmParam);
        EXPECT_NE(text.find(row), text.npos) << "missing: " << row;
    }
    for (const auto &info : deviceModels) {
        const std::string row = strprintf("| `%s` | %s |", std::string(info.signature).c_str(),
                                          info.hasLength ? "u32 length, state" : "state, up to the stream's end");
        EXPECT_NE(text.find(row), text.npos) << "missing: " << row;
    }
}

} // namespace godwit::tests
