// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stream/libxc_writer.h"
#include "tests/stream/streams.h"

#include <gtest/gtest.h>

namespace godwit::stream::libxc {

using namespace base;
using namespace tests;

namespace {

/// The error of reading a stream, or "" when it is accepted.
std::string errorOf(const Bytes &stream)
{
    MemorySource source(stream);
    RecordingHandler handler;
    const auto result = readStream(source, handler);
    return result ? "" : result.error().message;
}

/// The same with these records between STATIC_DATA_END (at byte 40) and END.
std::string errorOfRecords(const Bytes &records)
{
    return errorOf(libxcStream(records));
}

} // namespace

TEST(LibxcReader, DeliversPagesAndRecords)
{
    const Bytes stream = goodLibxcStream();
    MemorySource source(stream);
    RecordingHandler handler;
    const auto result = readStream(source, handler);
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_EQ(source.offset(), stream.size());
    EXPECT_EQ(handler.version, 3u);
    EXPECT_EQ(handler.header, (DomainHeader{DomainType::X86Hvm, 4, 17}));
    EXPECT_EQ(handler.pagesRead, 3u);
    for (uint64_t page : {2, 3, 5})
        EXPECT_EQ(handler.memory[page][4095], static_cast<std::byte>(page));
    ASSERT_EQ(handler.without.size(), 1u);
    EXPECT_EQ(handler.without[0], (PageWord{Pfn{9}, PageType::Absent}));
    EXPECT_EQ(handler.records, (std::vector{RecordType::StaticDataEnd, RecordType::X86TscInfo,
                                            RecordType::HvmContext, RecordType::HvmParams, RecordType::End}));
}

TEST(LibxcReader, TakesTheLastOfRepeatedPages)
{
    Bytes second = pageData({{Pfn{2}}});
    second.back() = std::byte{0xee};
    const Bytes stream = libxcStream(concat({record(RecordType::PageData, pageData({{Pfn{2}}})),
                                             record(RecordType::PageData, second)}));
    MemorySource whole(stream);
    RecordingHandler handler;
    ASSERT_TRUE(readStream(whole, handler));
    EXPECT_EQ(handler.memory[2][4095], std::byte{0xee});
}

TEST(LibxcReader, RejectsEveryTruncation)
{
    const Bytes stream = goodLibxcStream();
    for (size_t length = 0; length < stream.size(); length++) {
        MemorySource source(std::span<const std::byte>(stream).first(length));
        RecordingHandler handler;
        const auto result = readStream(source, handler);
        ASSERT_FALSE(result) << length;
        EXPECT_NE(result.error().message.find("ends at byte " + std::to_string(length)), std::string::npos)
            << result.error().message;
    }
}

TEST(LibxcReader, StopsAtEndAndLeavesTheRest)
{
    const Bytes stream = goodLibxcStream();
    const Bytes longer = concat({stream, bytesOf("what follows")});
    MemorySource source(longer);
    RecordingHandler handler;
    ASSERT_TRUE(readStream(source, handler));
    EXPECT_EQ(source.offset(), stream.size());
}

TEST(LibxcReader, SkipsUnknownOptionalRecordsOnly)
{
    EXPECT_EQ(errorOfRecords(record(0x80000042, bytesOf("padded"))), "");
    EXPECT_EQ(errorOfRecords(record(0x42)), "libxc record 0x42 at byte 48: is unknown and not optional");
    EXPECT_EQ(errorOfRecords(record(0x13)), "libxc record 0x13 at byte 48: is unknown and not optional");
}

TEST(LibxcReader, HoldsTheTableOfLengths)
{
    for (const RecordInfo &info : records) {
        if (info.type == RecordType::PageData)
            continue;
        const auto wrong = [&](uint32_t length) {
            Writer header;
            header.u32(static_cast<uint32_t>(info.type));
            header.u32(length);
            const auto type = info.guests == Guests::Pv ? DomainType::X86Pv : DomainType::X86Hvm;
            const Bytes body(std::min<uint32_t>(length, 1 << 20));
            return errorOf(concat({libxcHeaders(3, type), header.take(), body})).find("has the wrong length") != std::string::npos;
        };
        EXPECT_FALSE(wrong(info.minLength)) << info.name;
        EXPECT_FALSE(wrong(info.maxLength - (info.maxLength - info.minLength) % info.granule)) << info.name;
        EXPECT_TRUE(wrong(info.maxLength + 1)) << info.name;
        EXPECT_TRUE(info.minLength == 0 || wrong(info.minLength - 1)) << info.name;
        EXPECT_TRUE(info.granule == 1 || wrong(info.minLength + 1)) << info.name;
    }
    Writer huge;
    huge.u32(0x80000001);
    huge.u32(maxRecordLength + 1);
    EXPECT_NE(errorOf(concat({libxcHeaders(), huge.take()})), "");
}

TEST(LibxcReader, RefusesRecordsOfAnotherVersionOrGuest)
{
    const Bytes policy(24);
    EXPECT_EQ(errorOf(concat({libxcHeaders(2), record(RecordType::X86CpuidPolicy, policy)})),
              "X86_CPUID_POLICY at byte 40: does not belong into a stream of version 2");
    EXPECT_EQ(errorOfRecords(record(RecordType::SharedInfo, Bytes(4096))),
              "SHARED_INFO at byte 48: does not belong to this type of guest");
    EXPECT_EQ(errorOf(concat({libxcHeaders(3, DomainType::X86Pv), record(RecordType::HvmParams, Bytes(8))})),
              "HVM_PARAMS at byte 40: does not belong to this type of guest");
}

TEST(LibxcReader, AcceptsVersion2WithoutStaticDataEnd)
{
    EXPECT_EQ(errorOf(concat({libxcHeaders(2), record(RecordType::PageData, pageData({{Pfn{1}}})),
                              record(RecordType::End)})), "");
    EXPECT_EQ(errorOf(concat({libxcHeaders(3), record(RecordType::PageData, pageData({{Pfn{1}}})),
                              record(RecordType::End)})),
              "PAGE_DATA at byte 40: comes before STATIC_DATA_END");
}

TEST(LibxcReader, RefusesCheckpointedStreams)
{
    EXPECT_EQ(errorOfRecords(record(RecordType::Checkpoint)),
              "CHECKPOINT at byte 48: checkpointed streams cannot be restored");
}

TEST(LibxcReader, ChecksPageDataExactly)
{
    const auto errorOfBody = [](const Bytes &body) { return errorOfRecords(record(RecordType::PageData, body)); };
    const Bytes good = pageData({{Pfn{1}}, {Pfn{2}, PageType::Broken}});
    EXPECT_EQ(errorOfBody(good), "");
    EXPECT_NE(errorOfBody(concat({good, Bytes(8)})), "") << "8 bytes too many";
    EXPECT_NE(errorOfBody(Bytes(good.begin(), good.end() - 8)), "") << "8 bytes too few";
    Bytes count = good;
    for (unsigned wrong : {0u, 1u, 3u, 255u}) {
        count[0] = static_cast<std::byte>(wrong);
        EXPECT_NE(errorOfBody(count), "") << wrong;
    }
    Bytes huge = good;
    huge[3] = std::byte{0xff};
    EXPECT_NE(errorOfBody(huge), "") << "a count that overflows";
    Bytes reserved = good;
    reserved[4] = std::byte{1};
    EXPECT_NE(errorOfBody(reserved), "");
    EXPECT_NE(errorOfBody(pageData({{Pfn{16}}})), "") << "a page that the handler refuses";
}

TEST(LibxcReader, RefusesMoreWordsThanItKeepsInMemory)
{
    Writer body;
    body.u32(maxPagesPerRecord + 1);
    body.zeros(4);
    for (uint32_t i = 0; i <= maxPagesPerRecord; i++)
        body.u64(encodePageWord({Pfn{1}, PageType::Absent}));
    EXPECT_NE(errorOfRecords(record(RecordType::PageData, body.data())), "");
}

TEST(LibxcReader, RejectsPaddingThatIsNotZero)
{
    Bytes param = record(0x80000001, bytesOf("x"));
    param.back() = std::byte{1};
    EXPECT_NE(errorOfRecords(param), "");
}

TEST(PageWord, RoundTripsEveryValidTypeAndRejectsTheOthers)
{
    for (unsigned type = 0; type < 16; type++) {
        const PageWord word{Pfn{pfnMask}, static_cast<PageType>(type)};
        const auto back = decodePageWord(encodePageWord(word));
        EXPECT_EQ(back.has_value(), type < 5 || type > 8) << type;
        EXPECT_EQ(back.value_or(word), word) << type;
    }
    for (unsigned bit = 52; bit < 60; bit++)
        EXPECT_FALSE(decodePageWord(uint64_t{1} << bit)) << bit;
}

template <typename Decode>
static void expectWholeOnly(const Bytes &raw, Decode decode)
{
    EXPECT_TRUE(decode(raw));
    for (size_t length = 0; length < raw.size(); length++)
        EXPECT_FALSE(decode(Bytes(raw.begin(), raw.begin() + static_cast<ptrdiff_t>(length)))) << length;
    EXPECT_FALSE(decode(concat({raw, Bytes(1)})));
}

TEST(LibxcBodies, RoundTripAndRejectOtherLengths)
{
    const TscInfo tsc{1, 2400000, 123456789, 2};
    EXPECT_EQ(*decodeTscInfo(encodeTscInfo(tsc)), tsc);
    expectWholeOnly(encodeTscInfo(tsc), [](const Bytes &raw) { return decodeTscInfo(raw).has_value(); });
    const std::vector<HvmParam> params{{1, 2}, {17, ~uint64_t{0}}};
    EXPECT_EQ(*decodeHvmParams(encodeHvmParams(params)), params);
    expectWholeOnly(encodeHvmParams(params), [](const Bytes &raw) { return decodeHvmParams(raw).has_value(); });
    const DomainHeader header{DomainType::X86Pv, 0, 1};
    EXPECT_EQ(*decodeDomainHeader(encodeDomainHeader(header)), header);
    expectWholeOnly(encodeDomainHeader(header), [](const Bytes &raw) { return decodeDomainHeader(raw).has_value(); });
    EXPECT_EQ(*decodeImageHeader(encodeImageHeader()), 3u);
    expectWholeOnly(encodeImageHeader(), [](const Bytes &raw) { return decodeImageHeader(raw).has_value(); });
}

TEST(LibxcHeaders, RejectEveryFlippedBit)
{
    const Bytes good = libxcHeaders();
    for (size_t bit = 0; bit < 8 * good.size(); bit++) {
        Bytes bad = good;
        bad[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
        // Version 2, the guest's type, and Xen's version, which may be anything.
        const bool harmless = bit == 8 * 15 || bit / 8 >= 32 || bit == 8 * 24 + 1 || bit == 8 * 24;
        EXPECT_TRUE(harmless || !errorOf(bad).empty()) << bit;
    }
}

TEST(LibxcWriter, WritesWhatTheReaderReads)
{
    Bytes memory(3 * pageSize, std::byte{7});
    std::vector<iovec> parts{stream::part(memory.data(), pageSize),
                             stream::part(memory.data() + pageSize, 2 * pageSize)};
    const std::vector<uint64_t> words{encodePageWord({Pfn{0}}), encodePageWord({Pfn{4}}), encodePageWord({Pfn{5}})};
    MemorySink sink;
    ASSERT_TRUE(writeHead(sink, {DomainType::X86Hvm, 4, 17}));
    ASSERT_TRUE(writePages(sink, words, parts));
    ASSERT_TRUE(writeHvmTail(sink, {}, encodeEmptyHvmContext(), {}));
    MemorySource source(sink.data);
    RecordingHandler handler;
    const auto result = readStream(source, handler);
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_EQ(source.offset(), sink.data.size());
    EXPECT_EQ(handler.pagesRead, 3u);
    EXPECT_EQ(handler.memory[5][0], std::byte{7});
}

} // namespace godwit::stream::libxc
