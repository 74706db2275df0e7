// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/bytes.h"

#include <gtest/gtest.h>

using namespace godwit::base;

TEST(Bytes, ReadsWhatWasWrittenInBothOrders)
{
    for (ByteOrder order : {ByteOrder::little, ByteOrder::big}) {
        Writer out(order);
        out.u8(1);
        out.u16(0x0203);
        out.u32(0x04050607);
        out.u64(0x08090a0b0c0d0e0f);
        out.zeros(3);
        Reader in(out.data(), order);
        EXPECT_EQ(*in.u8(), 1);
        EXPECT_EQ(*in.u16(), 0x0203);
        EXPECT_EQ(*in.u32(), 0x04050607u);
        EXPECT_EQ(*in.u64(), 0x08090a0b0c0d0e0fu);
        EXPECT_TRUE(in.zeros(3));
        EXPECT_TRUE(in.atEnd());
    }
}

TEST(Bytes, WritesTheOrderItWasTold)
{
    Writer big(ByteOrder::big), little(ByteOrder::little);
    big.u32(0x01020304);
    little.u32(0x01020304);
    EXPECT_EQ(asText(big.data()), "\x01\x02\x03\x04");
    EXPECT_EQ(asText(little.data()), "\x04\x03\x02\x01");
}

TEST(Reader, NeverReadsBeyondTheEnd)
{
    const std::vector<std::byte> data(7);
    Reader in(data);
    EXPECT_TRUE(in.u32());
    EXPECT_FALSE(in.u32());
    EXPECT_EQ(in.left(), 3u);
    EXPECT_FALSE(in.bytes(static_cast<size_t>(-1)));
    EXPECT_FALSE(in.atEnd());
    EXPECT_TRUE(in.bytes(3));
    EXPECT_TRUE(in.atEnd());
}

TEST(Reader, RejectsReservedBytesThatAreNotZero)
{
    const std::vector<std::byte> data{std::byte{0}, std::byte{1}};
    Reader in(data);
    EXPECT_FALSE(in.zeros(2));
}
