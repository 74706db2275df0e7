// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/stream/streams.h"

#include <gtest/gtest.h>

namespace godwit::stream::libxl {

using namespace base;
using namespace tests;

namespace {

std::string errorOf(const Bytes &stream)
{
    MemorySource source(stream);
    RecordingHandler handler;
    const auto result = readLibxl(source, handler);
    return result ? "" : result.error().message;
}

/// A stream with these records between the libxc stream and END.
Bytes withRecords(const Bytes &records)
{
    return concat({encodeHeader({}), record(RecordType::LibxcContext), goodLibxcStream(), records,
                   record(RecordType::End)});
}

Bytes deviceState(std::string_view text)
{
    return record(RecordType::EmulatorContext, concat({encodeEmulatorHeader({}), bytesOf(text)}));
}

} // namespace

TEST(LibxlReader, DeliversMemoryAndDeviceState)
{
    const Bytes stream = goodLibxlStream();
    MemorySource source(stream);
    RecordingHandler handler;
    const auto state = readLibxl(source, handler);
    ASSERT_TRUE(state) << state.error().message;
    ASSERT_TRUE(*state);
    EXPECT_EQ(asText((*state)->data), "QEVM state");
    EXPECT_EQ((*state)->header, EmulatorHeader{});
    EXPECT_EQ(handler.pagesRead, 3u);
    EXPECT_EQ(source.offset(), stream.size());
}

TEST(LibxlReader, KeepsNothingOfTheDeviceState)
{
    const Bytes stream = goodLibxlStream();
    const auto readSome = [&](uint32_t count) {
        MemorySource source(stream);
        RecordingHandler handler;
        return stream::libxl::readStream(source, handler, [&](const EmulatorHeader &, std::optional<uint32_t> length, stream::Source &state) {
            EXPECT_EQ(length, 10u);
            EXPECT_EQ(state.offset(), stream.size() - 8 - 16);   // END, and the state with its padding
            return state.skip(count);
        });
    };
    EXPECT_TRUE(readSome(10));
    for (const uint32_t wrong : {0u, 9u, 11u})
        EXPECT_FALSE(readSome(wrong)) << wrong;
}

TEST(LibxlReader, RejectsEveryTruncation)
{
    const Bytes stream = goodLibxlStream();
    for (size_t length = 0; length < stream.size(); length++) {
        const std::string error = errorOf(Bytes(stream.begin(), stream.begin() + static_cast<ptrdiff_t>(length)));
        ASSERT_NE(error.find("ends at byte " + std::to_string(length)), std::string::npos) << error;
    }
}

TEST(LibxlReader, NamesTheRecordInsideTheRecord)
{
    const Bytes stream = concat({encodeHeader({}), record(RecordType::LibxcContext), libxcHeaders(),
                                 record(libxc::RecordType::X86TscInfo, Bytes(23))});
    EXPECT_EQ(errorOf(stream), "LIBXC_CONTEXT at byte 16: X86_TSC_INFO at byte 64: has the wrong length 23");
}

TEST(LibxlReader, RefusesUnknownRecordsEvenWithTheOptionalBit)
{
    EXPECT_NE(errorOf(withRecords(record(6))), "");
    EXPECT_NE(errorOf(withRecords(record(0x80000006))), "");
}

TEST(LibxlReader, HoldsItsOrder)
{
    EXPECT_EQ(errorOf(withRecords(deviceState("a"))), "");
    EXPECT_NE(errorOf(withRecords(concat({deviceState("a"), deviceState("b")}))), "");
    EXPECT_NE(errorOf(concat({encodeHeader({}), deviceState("a")})), "");
    EXPECT_NE(errorOf(concat({encodeHeader({}), record(RecordType::End)})), "");
    EXPECT_NE(errorOf(withRecords(concat({record(RecordType::LibxcContext), goodLibxcStream()}))), "");
    EXPECT_NE(errorOf(withRecords(record(RecordType::CheckpointEnd))), "");
    EXPECT_NE(errorOf(withRecords(record(RecordType::CheckpointState, Bytes(4)))), "");
}

TEST(LibxlReader, HoldsTheTableOfLengths)
{
    for (const RecordInfo &info : records) {
        const auto wrong = [&](uint32_t length) {
            Writer header;
            header.u32(static_cast<uint32_t>(info.type));
            header.u32(length);
            return errorOf(concat({encodeHeader({}), record(RecordType::LibxcContext), goodLibxcStream(),
                                   header.take()})).find("has the wrong length") != std::string::npos;
        };
        EXPECT_FALSE(wrong(info.minLength)) << info.name;
        EXPECT_FALSE(wrong(info.maxLength)) << info.name;
        EXPECT_TRUE(wrong(info.maxLength + 1)) << info.name;
        EXPECT_TRUE(info.minLength == 0 || wrong(info.minLength - 1)) << info.name;
    }
}

TEST(LibxlHeader, RoundTripsAndRejectsEveryFlippedBit)
{
    EXPECT_EQ(*decodeHeader(encodeHeader({true})), Header{true});
    const Bytes good = encodeHeader({});
    for (size_t bit = 0; bit < 8 * good.size(); bit++) {
        Bytes bad = good;
        bad[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
        const bool legacy = bit == 8 * 15 + 1;
        EXPECT_EQ(decodeHeader(bad).has_value(), legacy) << bit;
    }
}

TEST(EmulatorHeader, RoundTripsAndRejectsUnknownEmulators)
{
    const EmulatorHeader header{Emulator::QemuTraditional, 7};
    EXPECT_EQ(*decodeEmulatorHeader(encodeEmulatorHeader(header)), header);
    EXPECT_FALSE(decodeEmulatorHeader(encodeEmulatorHeader({static_cast<Emulator>(3), 0})));
    EXPECT_FALSE(decodeEmulatorHeader(Bytes(7)));
    EXPECT_FALSE(decodeEmulatorHeader(Bytes(9)));
}

TEST(LibxlWriter, WritesWhatTheReaderReads)
{
    MemorySink sink;
    ASSERT_TRUE(writeHead(sink));
    const Bytes inner = goodLibxcStream();
    ASSERT_TRUE(sink.write(inner));
    ASSERT_TRUE(writeTail(sink, 5, [](stream::Sink &out) { return out.write(bytesOf("five!")); }));
    MemorySource source(sink.data);
    RecordingHandler handler;
    const auto state = readLibxl(source, handler);
    ASSERT_TRUE(state) << state.error().message;
    EXPECT_EQ(asText((*state)->data), "five!");
    EXPECT_EQ(source.offset(), sink.data.size());
}

TEST(LibxlWriter, RefusesDeviceStateBeyondTheLimit)
{
    MemorySink sink;
    EXPECT_FALSE(writeTail(sink, maxDeviceState + 1, [](stream::Sink &) -> Result<void> { return {}; }));
    EXPECT_TRUE(sink.data.empty());
}

TEST(LibxlWriter, HoldsWhoWritesADeviceStateToItsLength)
{
    for (const char *written : {"four", "sixsix"}) {
        MemorySink sink;
        EXPECT_FALSE(writeTail(sink, 5, [&](stream::Sink &out) { return out.write(bytesOf(written)); })) << written;
    }
}

TEST(EmulatorXenstoreData, IsReadAsWritten)
{
    const std::vector<XenstorePair> pairs{{"physmap/f0000000/start_addr", "f0000000"}, {"a-b/C_9@", ""}};
    const Bytes data = encodeXenstorePairs(pairs).value();
    EXPECT_EQ(decodeXenstorePairs(data).value(), pairs);
    EXPECT_TRUE(decodeXenstorePairs({}).value().empty());
    const size_t whole = pairs[0].key.size() + pairs[0].value.size() + 2;
    for (size_t length = 1; length < data.size(); length++)
        EXPECT_EQ(decodeXenstorePairs(std::span(data).first(length)).has_value(), length == whole) << length;
}

TEST(EmulatorXenstoreData, HasOnlyKeysOfXenstore)
{
    for (const char *key : {"", "a b", "a.b", "\xc3\xa9"}) {
        EXPECT_FALSE(encodeXenstorePairs(std::vector<XenstorePair>{{key, "v"}}));
        EXPECT_FALSE(decodeXenstorePairs(concat({bytesOf(key), Bytes(1), bytesOf("v"), Bytes(1)})));
    }
    EXPECT_FALSE(encodeXenstorePairs(std::vector<XenstorePair>{{"k", std::string("a\0b", 3)}}));
}

TEST(EmulatorXenstoreData, LimitsItsPairs)
{
    std::vector<XenstorePair> pairs(maxXenstorePairs, {"k", "v"});
    EXPECT_TRUE(decodeXenstorePairs(encodeXenstorePairs(pairs).value()));
    pairs.push_back({"k", "v"});
    EXPECT_FALSE(decodeXenstorePairs(encodeXenstorePairs(pairs).value()));
}

TEST(CheckpointStateRecord, IsOneOfFour)
{
    for (uint32_t state = 0; state < 4; state++)
        EXPECT_EQ(decodeCheckpointState(encodeCheckpointState(static_cast<CheckpointState>(state))).value(),
                  static_cast<CheckpointState>(state));
    EXPECT_FALSE(decodeCheckpointState(encodeCheckpointState(static_cast<CheckpointState>(4))));
    EXPECT_FALSE(decodeCheckpointState(Bytes(3)));
    EXPECT_FALSE(decodeCheckpointState(Bytes(5)));
}

} // namespace godwit::stream::libxl
