// SPDX-License-Identifier: LGPL-2.1-or-later
#include "migration/negotiation.h"

#include <gtest/gtest.h>

namespace godwit::migration {

/// What a destination of ours makes of `offer`.
static base::Result<Abilities> choose(const Abilities &offer)
{
    return choose(offer, "alpha", destinationAbilities(), "beta");
}

static Abilities versions(unsigned min, unsigned max)
{
    Abilities out;
    out.streamVersionMin = min;
    out.streamVersionMax = max;
    return out;
}

TEST(Negotiation, TakesTheHighestCommonStreamVersion)
{
    const std::pair<Abilities, unsigned> offers[] = {
        {versions(1, 1), 1}, {versions(2, 2), 2}, {versions(1, 2), 2}, {versions(1, 9), 2}, {versions(2, 3), 2}};
    for (const auto &[offer, version] : offers) {
        const auto chosen = choose(offer);
        ASSERT_TRUE(chosen) << chosen.error().message;
        EXPECT_EQ(chosen->streamVersionMin, version);
        EXPECT_EQ(chosen->streamVersionMax, version);
    }
}

TEST(Negotiation, RefusesWhatNobodyReadsAndNamesBothSides)
{
    auto chosen = choose(versions(3, 4));
    ASSERT_FALSE(chosen);
    EXPECT_EQ(chosen.error().message,
              "host 'alpha' sends stream versions 3 to 4, host 'beta' reads versions 1 to 2");
    Abilities odd;
    odd.layouts = {"spiral", "zigzag"};
    chosen = choose(odd);
    ASSERT_FALSE(chosen);
    EXPECT_EQ(chosen.error().message, "host 'alpha' sends layouts spiral, zigzag, host 'beta' reads layouts plain");
}

TEST(Negotiation, TakesOfTheRestWhatBothHave)
{
    Abilities offer;
    offer.layouts = {"newer", "plain"};
    offer.channels = 200;
    offer.tls = offer.checkpoints = offer.postCopy = true;
    offer.compression = {"newest", "zstd", "lz4"};
    Abilities own = destinationAbilities();
    own.channels = 16;
    own.compression = {"lz4", "zstd"};
    own.checkpoints = true;
    own.tls = true;
    const auto chosen = choose(offer, "alpha", own, "beta");
    ASSERT_TRUE(chosen) << chosen.error().message;
    EXPECT_EQ(chosen->layouts, std::vector<std::string>{"plain"});
    EXPECT_EQ(chosen->channels, 16u);
    EXPECT_EQ(chosen->compression, std::vector<std::string>{"zstd"}) << "the source knows best what suits it";
    EXPECT_TRUE(chosen->tls);
    EXPECT_TRUE(chosen->checkpoints);
    EXPECT_FALSE(chosen->postCopy);
}

TEST(Negotiation, GivesASourceWithoutOurChildOnePlainStream)
{
    Cookie stock;
    stock.streamVersion = 2;
    EXPECT_EQ(offerOf(stock), versions(2, 2));
    stock.streamVersion = legacyStreamVersion;
    EXPECT_EQ(offerOf(stock), versions(1, 1));
    stock.streamVersion = 3;
    EXPECT_FALSE(choose(offerOf(stock)));
}

TEST(Negotiation, HoldsTheDestinationToTheOffer)
{
    Cookie reply;
    reply.hostname = "beta";
    EXPECT_TRUE(checkChoice(sourceAbilities(), reply, false)) << "a stock destination answers nothing";
    reply.extension.emplace();
    reply.extension->secret = std::string(64, '0');
    EXPECT_TRUE(checkChoice(sourceAbilities(), reply, false));
    const auto refuses = [&](auto change) {
        Cookie wrong = reply;
        change(*wrong.extension);
        const auto checked = checkChoice(sourceAbilities(), wrong, false);
        return !checked && checked.error().message.find("beta") != std::string::npos;
    };
    EXPECT_TRUE(refuses([](CookieExtension &ours) { ours.abilities = versions(1, 1); }));
    EXPECT_TRUE(refuses([](CookieExtension &ours) { ours.abilities = versions(1, 2); }));
    EXPECT_TRUE(refuses([](CookieExtension &ours) { ours.abilities = versions(3, 3); }));
    EXPECT_TRUE(refuses([](CookieExtension &ours) { ours.abilities.layouts = {"spiral"}; }));
    EXPECT_TRUE(refuses([](CookieExtension &ours) { ours.abilities.channels = 255; }));
    EXPECT_TRUE(refuses([](CookieExtension &ours) { ours.abilities.compression = {"zstd"}; }));
    EXPECT_TRUE(refuses([](CookieExtension &ours) { ours.abilities.postCopy = true; }));
    EXPECT_TRUE(refuses([](CookieExtension &ours) { ours.secret.clear(); }));
    reply.extension->secret.clear();
    EXPECT_TRUE(checkChoice(sourceAbilities(), reply, /* tunnelled= */ true));
}

} // namespace godwit::migration
