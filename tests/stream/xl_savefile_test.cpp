// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stream/xl_savefile.h"
#include "tests/stream/streams.h"

#include <cstring>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

namespace godwit::stream {

using namespace base;
using namespace tests;

namespace {

XlSavefile good(ByteOrder order = ByteOrder::little)
{
    XlSavefile savefile;
    savefile.header.order = order;
    savefile.config = "{\"c_info\": {}}";
    return savefile;
}

std::string headerError(const Bytes &raw)
{
    const auto header = decodeXlSavefileHeader(raw);
    return header ? "" : header.error().message;
}

} // namespace

TEST(XlSavefile, IsReadAsWrittenInBothByteOrders)
{
    for (const ByteOrder order : {ByteOrder::little, ByteOrder::big}) {
        const Bytes raw = encodeXlSavefile(good(order)).value();
        const auto header = decodeXlSavefileHeader(raw).value();
        EXPECT_EQ(header.order, order);
        EXPECT_FALSE(header.isLegacy());
        EXPECT_EQ(raw.size(), xlSavefileHeaderSize + header.dataLength);
        EXPECT_EQ(decodeXlSavefileData(header, std::span(raw).subspan(xlSavefileHeaderSize)).value(), good().config);
    }
}

TEST(XlSavefile, LiesAsXlWritesIt)
{
    const Bytes raw = encodeXlSavefile(good()).value();
    EXPECT_EQ(asText(std::span(raw).first(32)), std::string_view("Xen saved domain, xl format\n \0 \r", 32));
    const std::span words = std::span(raw).subspan(32);
    Reader in(words);
    EXPECT_EQ(in.u32().value(), 0x01020304u);
    EXPECT_EQ(in.u32().value(), 3u);
    EXPECT_EQ(in.u32().value(), 0u);
    EXPECT_EQ(in.u32().value(), 18u);
    EXPECT_EQ(in.u32().value(), 14u);
}

TEST(XlSavefile, MayHaveNoConfigurationAndALegacyStream)
{
    XlSavefile savefile;
    savefile.header.mandatoryFlags = 0;
    const Bytes raw = encodeXlSavefile(savefile).value();
    const auto header = decodeXlSavefileHeader(raw).value();
    EXPECT_TRUE(header.isLegacy());
    EXPECT_EQ(decodeXlSavefileData(header, {}).value(), std::nullopt);
}

TEST(XlSavefile, RefusesEveryTruncation)
{
    const Bytes raw = encodeXlSavefile(good()).value();
    const auto header = decodeXlSavefileHeader(raw).value();
    for (size_t length = 0; length < raw.size(); length++) {
        const std::span part = std::span(raw).first(length);
        if (length < xlSavefileHeaderSize)
            EXPECT_FALSE(decodeXlSavefileHeader(part));
        else
            EXPECT_FALSE(decodeXlSavefileData(header, part.subspan(xlSavefileHeaderSize)));
    }
}

TEST(XlSavefile, RefusesWhatItDoesNotKnow)
{
    const Bytes raw = encodeXlSavefile(good()).value();
    const auto with = [&](size_t at, uint8_t value) {
        Bytes bad = raw;
        bad[at] = std::byte{value};
        return bad;
    };
    EXPECT_EQ(headerError(with(0, 'x')), "this is no image of xl: its magic is wrong");
    EXPECT_EQ(headerError(with(31, 0)), "this is no image of xl: its magic is wrong");
    EXPECT_EQ(headerError(with(32, 9)), "the mark of xl's byte order is wrong");
    EXPECT_EQ(headerError(with(36, 7)), "xl's image has unknown mandatory flags 0x4");
    EXPECT_EQ(headerError(with(40, 7)), "");   // optional flags may be anything
}

TEST(XlSavefile, LimitsItsData)
{
    Bytes raw = encodeXlSavefile(good()).value();
    const auto setLength = [&](uint32_t length) { std::memcpy(raw.data() + 44, &length, sizeof length); };
    setLength(maxXlData);
    EXPECT_EQ(headerError(raw), "");
    setLength(maxXlData + 1);
    EXPECT_NE(headerError(raw), "");
    XlSavefile tooLong;
    tooLong.config = std::string(maxXlData - 3, 'x');
    EXPECT_FALSE(encodeXlSavefile(tooLong));
    XlSavefileHeader header;
    header.dataLength = 8;
    EXPECT_FALSE(decodeXlSavefileData(header, bytesOf({"\5\0\0\0abcd", 8})));
    EXPECT_EQ(decodeXlSavefileData(header, bytesOf({"\3\0\0\0abcd", 8})).value(), "abc");
    header.dataLength = 3;
    EXPECT_FALSE(decodeXlSavefileData(header, Bytes(3)));
}

TEST(XlSavefile, IsReadFromAFileUpToTheStream)
{
    Bytes raw = encodeXlSavefile(good()).value();
    const size_t head = raw.size();
    raw.push_back(std::byte{7});
    const UniqueFd file(::memfd_create("image", MFD_CLOEXEC));
    ASSERT_EQ(::write(file.get(), raw.data(), raw.size()), static_cast<ssize_t>(raw.size()));
    ASSERT_EQ(lseek(file.get(), 0, SEEK_SET), 0);
    const auto read = readXlSavefile(file.get());
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(read->config, good().config);
    EXPECT_EQ(read->streamOffset, head);
    EXPECT_EQ(lseek(file.get(), 0, SEEK_CUR), static_cast<off_t>(head));
    for (size_t length = 0; length < head; length++) {
        ASSERT_EQ(ftruncate(file.get(), static_cast<off_t>(length)), 0);
        ASSERT_EQ(lseek(file.get(), 0, SEEK_SET), 0);
        EXPECT_FALSE(readXlSavefile(file.get())) << length;
    }
}

} // namespace godwit::stream
