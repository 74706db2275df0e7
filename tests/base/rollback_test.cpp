// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/rollback.h"

#include <gtest/gtest.h>
#include <string>

using godwit::base::Rollback;

TEST(Rollback, UndoesInReverseOrder)
{
    std::string done;
    {
        Rollback rollback;
        rollback.onFailure([&] { done += "a"; });
        rollback.onFailure([&] { done += "b"; });
    }
    EXPECT_EQ(done, "ba");
}

TEST(Rollback, DoesNothingOnceCommitted)
{
    std::string done;
    {
        Rollback rollback;
        rollback.onFailure([&] { done += "a"; });
        rollback.commit();
    }
    EXPECT_EQ(done, "");
}
