// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/convergence.h"

#include <gtest/gtest.h>
#include <vector>

using godwit::engine::Convergence;

/// After how many of these rests, in milliseconds, no other round is worth it; 0: after none.
static size_t endsAfter(const std::vector<double> &rests)
{
    Convergence convergence;
    for (size_t i = 0; i < rests.size(); i++)
        if (!convergence.isWorthARound(std::chrono::duration<double, std::milli>(rests[i])))
            return i + 1;
    return 0;
}

TEST(Convergence, EndsWithAShortRest)
{
    EXPECT_EQ(endsAfter({2}), 1u);
    EXPECT_EQ(endsAfter({2.1, 1.9}), 2u);
    EXPECT_EQ(endsAfter({0}), 1u);
}

TEST(Convergence, GoesOnWhileEachRestIsHalfTheOneBefore)
{
    EXPECT_EQ(endsAfter({4000, 1999, 999, 499, 249, 124, 61, 30, 14, 6, 2.9}), 0u);
}

TEST(Convergence, EndsWithTheThirdRoundInVain)
{
    EXPECT_EQ(endsAfter({100, 100, 100, 100, 100}), 4u);
    EXPECT_EQ(endsAfter({100, 90, 80, 70}), 4u) << "each a little shorter";
    EXPECT_EQ(endsAfter({100, 50, 200, 400}), 4u) << "half is not less than half";
}

TEST(Convergence, ForgivesABurst)
{
    EXPECT_EQ(endsAfter({100, 300, 300, 49, 49, 49, 24}), 0u);
    EXPECT_EQ(endsAfter({100, 300, 300, 49, 49, 49, 25}), 7u);
}
