// SPDX-License-Identifier: LGPL-2.1-or-later
#include "channel/preface.h"

#include "tests/channel/checks.h"

#include <gtest/gtest.h>
#include <random>

using namespace godwit::base;
using namespace godwit::channel;

namespace {

Preface samplePreface()
{
    Preface preface;
    preface.secret = parseSecret(std::string(62, '0') + "fE").value();
    return preface;
}

using Bytes = std::vector<std::byte>;

} // namespace

TEST(Secret, IsReadFromExactly64HexDigits)
{
    EXPECT_EQ(samplePreface().secret[31], std::byte{0xfe});
    EXPECT_FALSE(parseSecret(""));
    EXPECT_FALSE(parseSecret(std::string(63, '0')));
    EXPECT_FALSE(parseSecret(std::string(65, '0')));
    EXPECT_FALSE(parseSecret(std::string(63, '0') + "g"));
}

TEST(Secret, DiffersInEveryBit)
{
    const Secret secret = samplePreface().secret;
    EXPECT_TRUE(equal(secret, secret));
    for (size_t bit = 0; bit < 8 * secretSize; bit++) {
        Secret other = secret;
        other[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
        EXPECT_FALSE(equal(secret, other)) << bit;
    }
}

TEST(PrefaceCodec, RoundTripsAndRejectsOtherLengths)
{
    const Bytes raw = encodePreface(samplePreface());
    ASSERT_EQ(raw.size(), prefaceSize);
    EXPECT_EQ(*decodePreface(raw), samplePreface());
    for (size_t length = 0; length < raw.size(); length++)
        EXPECT_FALSE(decodePreface(std::span(raw).first(length))) << length;
    Bytes longer = raw;
    longer.push_back(std::byte{0});
    EXPECT_FALSE(decodePreface(longer));
}

TEST(PrefaceCodec, RejectsEveryFlippedBitOutsideTheSecret)
{
    const Bytes good = encodePreface(samplePreface());
    for (size_t bit = 0; bit < 8 * good.size(); bit++) {
        Bytes bad = good;
        bad[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
        // One of 1, 3, 5, 9 or 17 connections is as good as the only one.
        const bool inSecret = bit / 8 >= 24 && bit / 8 < 56;
        const bool inCount = bit / 8 == 23 && bad[23] != std::byte{0} && bad[23] <= std::byte{32};
        EXPECT_EQ(decodePreface(bad).has_value(), inSecret || inCount) << bit;
    }
}

TEST(PrefaceCodec, HoldsTheLimitsOfIndexAndCount)
{
    const auto decodes = [](uint32_t index, uint32_t count) {
        Preface preface = samplePreface();
        preface.index = index;
        preface.count = count;
        return decodePreface(encodePreface(preface)).has_value();
    };
    constexpr uint32_t most = godwit::stream::maxConnections;
    EXPECT_TRUE(decodes(0, 1));
    EXPECT_TRUE(decodes(most - 1, most));
    EXPECT_FALSE(decodes(0, 0));
    EXPECT_FALSE(decodes(1, 1));
    EXPECT_FALSE(decodes(most, most));
    EXPECT_FALSE(decodes(0, most + 1));
    EXPECT_FALSE(decodes(~0u, ~0u));
}

TEST(OutcomeCodec, HoldsItsLimits)
{
    for (OutcomeStatus status : {OutcomeStatus::Restored, OutcomeStatus::Failed}) {
        const Bytes raw = encodeOutcome(status, "why");
        EXPECT_EQ(raw.size(), outcomeHeaderSize + 3);
        EXPECT_EQ(*decodeOutcomeHeader(std::span(raw).first(8)), (OutcomeHeader{status, 3}));
    }
    EXPECT_EQ(encodeOutcome(OutcomeStatus::Failed, std::string(maxOutcomeText + 1, 'x')).size(),
              outcomeHeaderSize + maxOutcomeText);
    const auto header = [](uint32_t status, uint32_t length) {
        Writer out(ByteOrder::big);
        out.u32(status);
        out.u32(length);
        return decodeOutcomeHeader(out.data()).has_value();
    };
    EXPECT_TRUE(header(2, maxOutcomeText));
    EXPECT_FALSE(header(2, maxOutcomeText + 1));
    EXPECT_FALSE(header(0, 0));
    EXPECT_FALSE(header(3, 0));
}

TEST(ChannelDecoders, SurviveMutations)
{
    std::mt19937 random(3);
    for (const Bytes &seed : {encodePreface(samplePreface()), Bytes(outcomeHeaderSize)}) {
        for (int i = 0; i < 20000; i++) {
            Bytes bad = seed;
            bad[random() % bad.size()] = static_cast<std::byte>(random() % 3);
            ASSERT_TRUE(godwit::tests::checkChannelDecoders(bad));
        }
    }
}
