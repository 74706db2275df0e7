// SPDX-License-Identifier: LGPL-2.1-or-later
// What the reader takes and refuses, seen through the converter on top of it.
#include "tests/stream/legacy_streams.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <random>

namespace godwit::tests {

using namespace base;
using namespace stream::legacy;
using namespace stream;

namespace {

std::string errorOf(const Bytes &stream, const ConvertOptions &options = {})
{
    return convertLegacy(stream, options).error;
}

bool endsWith(const std::string &text, std::string_view end)
{
    return text.size() >= end.size() && std::string_view(text).substr(text.size() - end.size()) == end;
}

/// Inside a page or context, whose bytes are all the same.
bool isFilling(const Bytes &stream, size_t at)
{
    constexpr size_t reach = 20;
    if (at < reach || at + reach >= stream.size())
        return false;
    const auto around = std::span(stream).subspan(at - reach, 2 * reach);
    return std::ranges::all_of(around, [&](std::byte byte) { return byte == stream[at]; });
}

/// An HVM stream of these chunks, with what every HVM stream has around them.
Bytes hvmOf(const std::function<void(LegacyStream &)> &chunks)
{
    LegacyStream out(Width::Bits64);
    out.batch({1});
    chunks(out);
    return out.chunk(Chunk::End).hvmTail().deviceModel().take();
}

std::string errorOfChunks(const std::function<void(LegacyStream &)> &chunks)
{
    return errorOf(hvmOf(chunks));
}

/// A PV stream with this extended info, up to where its pages would begin.
std::string errorOfInfo(const Bytes &blocks, uint64_t p2mSize = 1024)
{
    LegacyStream out(Width::Bits64, p2mSize);
    return errorOf(out.extendedInfo(blocks).take());
}

struct LegacyReader : testing::TestWithParam<Width> {};
INSTANTIATE_TEST_SUITE_P(BothWidths, LegacyReader, testing::Values(Width::Bits32, Width::Bits64),
                         [](const auto &test) { return test.param == Width::Bits32 ? "Bits32" : "Bits64"; });

} // namespace

TEST_P(LegacyReader, TellsTheGuestFromTheStreamAndHoldsWhatTheCallerKnows)
{
    const ConvertOptions pv{.read = {.guest = DomainType::X86Pv}}, hvm{.read = {.guest = DomainType::X86Hvm}};
    EXPECT_EQ(errorOf(goodLegacyHvm(GetParam()), hvm), "");
    EXPECT_EQ(errorOf(goodLegacyPv(GetParam()), pv), "");
    EXPECT_EQ(errorOf(goodLegacyHvm(GetParam()), pv),
              "legacy head: this is no stream of a PV guest: it has no extended info");
    EXPECT_NE(errorOf(goodLegacyPv(GetParam()), hvm), "");
}

TEST_P(LegacyReader, RejectsEveryTruncation)
{
    for (const Bytes &stream : {goodLegacyHvm(GetParam()), goodLegacyPv(GetParam()), goodLegacyCheckpoints(GetParam())}) {
        const bool checkpointed = stream == goodLegacyCheckpoints(GetParam());
        const auto options = checkpointed ? checkpointedOptions() : ConvertOptions{};
        ASSERT_EQ(errorOf(stream, options), "");
        for (size_t length = 0; length < stream.size(); length += isFilling(stream, length) ? 17 : 1) {
            const auto done = convertLegacy(std::span(stream).first(length), options);
            ASSERT_TRUE(endsWith(done.error, "the stream ends at byte " + std::to_string(length)))
                << length << ": " << done.error;
        }
    }
}

TEST_P(LegacyReader, StopsAtTheEndAndLeavesTheRest)
{
    for (const Bytes &stream : {goodLegacyHvm(GetParam()), goodLegacyPv(GetParam())}) {
        const auto done = convertLegacy(concat({stream, bytesOf("what follows")}));
        EXPECT_EQ(done.error, "");
        EXPECT_EQ(done.read, stream.size());
    }
}

TEST_P(LegacyReader, SurvivesEveryFlippedBitOfItsStructure)
{
    for (const Bytes &stream : {goodLegacyHvm(GetParam()), goodLegacyPv(GetParam()), goodLegacyCheckpoints(GetParam())}) {
        Bytes bad = stream;
        for (size_t i = 0; i < bad.size(); i++)
            for (unsigned bit = 0; bit < 8 && !isFilling(stream, i); bit++) {
                bad[i] ^= static_cast<std::byte>(1u << bit);
                ASSERT_TRUE(checkLegacyReader(bad)) << "bit " << bit << " of byte " << i;
                bad[i] = stream[i];
            }
    }
}

TEST(LegacyReaderOnGarbage, AlwaysEndsWithAnError)
{
    std::mt19937 random(11);
    for (unsigned i = 0; i < 3000; i++) {
        Bytes bad(random() % 5000);
        for (std::byte &byte : bad)
            byte = static_cast<std::byte>(i % 3 ? random() : random() % 3);
        // One half begins like a stream.
        for (size_t at = 2; i % 2 && at < std::min<size_t>(bad.size(), 8); at++)
            bad[at] = std::byte{0};
        EXPECT_NE(errorOf(bad), "");
        EXPECT_TRUE(checkLegacyReader(bad));
    }
    EXPECT_NE(errorOf(Bytes(1 << 20)), "") << "zeros";
    EXPECT_NE(errorOf(Bytes(1 << 20, std::byte{0xff})), "") << "ones";
}

TEST(LegacyReaderOnLaterStreams, SaysWhatTheyAre)
{
    EXPECT_EQ(errorOf(goodLibxlStream()), "legacy head: this is a libxl stream of version 2 or later");
    EXPECT_EQ(errorOf(goodLibxcStream()), "legacy head: this is a libxc stream of version 2 or later");
}

TEST(LegacyBatch, HasAtMost1024PagesEachOnce)
{
    std::vector<uint32_t> words;
    for (uint32_t i = 0; i < 1024; i++)
        words.push_back(0xe0000000 | i);
    EXPECT_EQ(errorOfChunks([&](LegacyStream &out) { out.batch(words); }), "");
    words.push_back(0xe0000000 | 1024);
    EXPECT_EQ(errorOfChunks([&](LegacyStream &out) { out.batch(words); }),
              "page batch at byte 4116: has 1025 pages (1024 at most)");
    EXPECT_EQ(errorOfChunks([](LegacyStream &out) { out.batch({7, 8, 7}); }),
              "page batch at byte 4116: has the same page twice");
    EXPECT_EQ(errorOfChunks([](LegacyStream &out) { out.batch({0xf0000000, 8, 0xf0000000}); }), "");
    EXPECT_EQ(errorOfChunks([](LegacyStream &out) { out.batch({0x50000001}); }),
              "page batch at byte 4116: invalid page type in the page word 0x50000001");
    EXPECT_EQ(errorOfChunks([](LegacyStream &out) { out.u32(1).u64(0x100000001).zeros(pageSize); }),
              "page batch at byte 4116: bits above 31 in the page word 0x0000000100000001");
}

TEST(LegacyChunks, ComeOnceExceptPages)
{
    EXPECT_EQ(errorOfChunks([](LegacyStream &out) { out.batch({1}).batch({1}); }), "");
    EXPECT_EQ(errorOfChunks([](LegacyStream &out) {
                  out.chunk(Chunk::LastCheckpoint).chunk(Chunk::LastCheckpoint);
              }), "LAST_CHECKPOINT at byte 4120: comes a second time");
    EXPECT_EQ(errorOfChunks([](LegacyStream &out) { out.vcpus(0, {1}).vcpus(0, {1}); }),
              "VCPU_INFO at byte 4132: comes a second time");
    for (const ChunkInfo &info : chunks) {
        if (info.body != Body::Param)
            continue;
        const auto twice = [&](LegacyStream &out) {
            for (int i = 0; i < 2; i++)
                out.chunk(info.id).u32(0).u64(5);
        };
        EXPECT_NE(errorOfChunks(twice).find("comes a second time"), std::string::npos) << info.name;
    }
}

TEST(LegacyChunks, ThatAreUnknownOrObsoleteAreErrors)
{
    EXPECT_EQ(errorOfChunks([](LegacyStream &out) { out.u32(static_cast<uint32_t>(-21)); }),
              "chunk -21 at byte 4116 is unknown");
    EXPECT_EQ(errorOfChunks([](LegacyStream &out) { out.u32(0x80000000); }),
              "chunk -2147483648 at byte 4116 is unknown");
    for (const Chunk id : {Chunk::Tmem, Chunk::TmemExtra})
        EXPECT_NE(errorOfChunks([&](LegacyStream &out) { out.chunk(id); }), "");
}

TEST(LegacyChunks, HoldTheirLimits)
{
    EXPECT_EQ(errorOfChunks([](LegacyStream &out) { out.vcpus(4096, {1}); }),
              "VCPU_INFO at byte 4116: has processor 4096 (4095 is the last)");
    EXPECT_NE(errorOfChunks([](LegacyStream &out) { out.vcpus(~0u, {1}); }), "");
    EXPECT_EQ(errorOfChunks([](LegacyStream &out) { out.vcpus(63, {~uint64_t{0}}); }), "");
    EXPECT_EQ(errorOfChunks([](LegacyStream &out) { out.vcpus(62, {~uint64_t{0}}); }),
              "VCPU_INFO at byte 4116: has processors beyond its last");
    EXPECT_EQ(errorOfChunks([](LegacyStream &out) { out.chunk(Chunk::Toolstack).u32(maxToolstack + 1); }),
              "TOOLSTACK at byte 4116: is 1048577 bytes long");
    EXPECT_EQ(errorOfChunks([](LegacyStream &out) { out.chunk(Chunk::Toolstack).u32(0); }), "");
    EXPECT_EQ(errorOfChunks([](LegacyStream &out) { out.compressed(Bytes(1)); }),
              "COMPRESSED_DATA at byte 4116: has 1 bytes for 0 pages");
    EXPECT_NE(errorOfChunks([](LegacyStream &out) { out.chunk(Chunk::CompressedData).u64(~uint64_t{0}); }), "");
}

TEST(LegacyChunks, OfAnHvmGuestDoNotBelongToAPvGuest)
{
    for (const ChunkInfo &info : chunks) {
        if (info.body != Body::Param)
            continue;
        LegacyStream out(Width::Bits64);
        out.extendedInfo(LegacyStream::block("vcpu", context64Length)).word(1).word(2).chunk(info.id).u32(0).u64(1);
        EXPECT_TRUE(endsWith(errorOf(out.take()), "does not belong to this type of guest")) << info.name;
    }
}

TEST(LegacyExtendedInfo, HoldsItsBlocksToTheirLengths)
{
    const Bytes vcpu = LegacyStream::block("vcpu", context64Length);
    const auto error = [](std::string_view what) { return "legacy head: extended info: " + std::string(what); };
    EXPECT_EQ(errorOfInfo({}), error("has no vcpu block"));
    EXPECT_EQ(errorOfInfo(LegacyStream::block("vcpu", context64Length - 1)), error("has a vcpu block of 5167 bytes"));
    EXPECT_EQ(errorOfInfo(concat({vcpu, vcpu})), error("has two vcpu blocks"));
    EXPECT_EQ(errorOfInfo(concat({vcpu, LegacyStream::block("extv", 0), LegacyStream::block("extv", 0)})),
              error("has two extv blocks"));
    EXPECT_EQ(errorOfInfo(concat({vcpu, LegacyStream::block("xcnt", 3)})), error("has an xcnt block of 3 bytes"));
    EXPECT_EQ(errorOfInfo(concat({vcpu, LegacyStream::block("xcnt", 4, 15)})), error("tells of XSAVE areas of 15 bytes"));
    EXPECT_EQ(errorOfInfo(concat({vcpu, LegacyStream::block("xcnt", 4, maxXsaveLength + 1)})),
              error("tells of XSAVE areas of 1048577 bytes"));
    EXPECT_EQ(errorOfInfo(LegacyStream::block("what", 0)), error("has an unknown block"));
    Bytes overlong = vcpu;
    overlong[5] = std::byte{0x15};
    EXPECT_EQ(errorOfInfo(overlong), error("has a block of 5424 bytes where 5176 are left"));
    LegacyStream endless(Width::Bits64);
    EXPECT_EQ(errorOf(endless.word(~uint64_t{0}).u32(maxExtendedInfo + 1).take()), error("is 65537 bytes long"));
}

TEST(LegacyExtendedInfo, BelongsToAGuestOfAPossibleSize)
{
    const Bytes vcpu = LegacyStream::block("vcpu", context64Length);
    EXPECT_EQ(errorOfInfo(vcpu, 0), "legacy head: extended info: belongs to a guest of 0 pages");
    EXPECT_EQ(errorOfInfo(vcpu, maxPages + 1), "legacy head: extended info: belongs to a guest of 268435457 pages");
    EXPECT_TRUE(endsWith(errorOfInfo(vcpu, maxPages), "the stream ends at byte 5196"));
}

TEST(LegacyTail, HoldsItsLimits)
{
    LegacyStream hvm(Width::Bits64);
    EXPECT_EQ(errorOf(hvm.batch({1}).chunk(Chunk::End).hvmTail("").take()),
              "HVM tail at byte 4120: has an HVM context of 0 bytes");
    LegacyStream longer(Width::Bits64);
    EXPECT_NE(errorOf(longer.batch({1}).chunk(Chunk::End).zeros(24).u32(libxc::maxBlob + 1).take()), "");
    LegacyStream pv(Width::Bits64);
    pv.extendedInfo(LegacyStream::block("vcpu", context64Length)).word(1).word(2).chunk(Chunk::End).u32(maxUnmapped + 1);
    EXPECT_TRUE(endsWith(errorOf(pv.take()), "has 268435457 pages that are not mapped"));
    LegacyStream state(Width::Bits64);
    state.batch({1}).chunk(Chunk::End).hvmTail().text("DeviceModelRecord0002").u32(libxl::maxDeviceState + 1);
    EXPECT_TRUE(endsWith(errorOf(state.take()), "has a state of 268435457 bytes"));
}

TEST(LegacyTail, RefusesAnXsaveAreaOfAnotherLength)
{
    Bytes stream = goodLegacyPv(Width::Bits64);
    stream[stream.size() - pageSize - 64 - 8] = std::byte{65};
    EXPECT_TRUE(endsWith(errorOf(stream), "has an XSAVE area of 65 bytes, announced with 64")) << errorOf(stream);
}

TEST(LegacyTail, HasProcessor0WhenNothingIsSaid)
{
    LegacyStream out(Width::Bits64);
    out.extendedInfo(LegacyStream::block("vcpu", context64Length)).word(1).word(2).batch({1}).chunk(Chunk::End)
        .pvTail(context64Length);
    const auto done = convertLegacy(out.take());
    EXPECT_EQ(done.error, "");
    EXPECT_EQ(recordsOf(done.output), (std::vector<std::string>{
        "libxc_context", "X86_PV_INFO 8", "STATIC_DATA_END", "X86_PV_P2M_FRAMES 24", "PAGE_DATA 4112",
        "X86_PV_VCPU_BASIC 5176", "SHARED_INFO 4096", "END", "end"}));
}

TEST(LegacyMutations, NeverCrashTheReader)
{
    std::mt19937 random(7);
    for (const Width width : {Width::Bits32, Width::Bits64})
        for (const Bytes &seed : {goodLegacyHvm(width), goodLegacyPv(width), goodLegacyCheckpoints(width)})
            for (unsigned i = 0; i < 2000; i++) {
                Bytes bad = seed;
                for (unsigned n = random() % 6 + 1; n > 0; n--) {
                    const bool early = random() % 2;
                    const size_t at = random() % (early ? std::min<size_t>(bad.size(), 128) : bad.size());
                    bad[at] = random() % 3 ? static_cast<std::byte>(random()) : std::byte{0xff};
                }
                if (random() % 4 == 0)
                    bad.resize(random() % bad.size());
                if (random() % 8 == 0)
                    bad.insert(bad.begin() + static_cast<ptrdiff_t>(random() % (bad.size() + 1)), random() % 64, std::byte{0});
                ASSERT_TRUE(checkLegacyReader(bad)) << "mutation " << i;
                ASSERT_TRUE(checkLegacyStreamReader(bad)) << "mutation " << i;
            }
}

} // namespace godwit::tests
