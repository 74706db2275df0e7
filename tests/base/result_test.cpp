// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/result.h"
#include "base/strprintf.h"

#include <cerrno>
#include <gtest/gtest.h>
#include <memory>

using namespace godwit::base;

static Result<int> half(int number)
{
    if (number % 2 != 0)
        return makeError(ErrorCode::InvalidArgument, "%d is odd", number);
    return number / 2;
}

static Result<std::string> quarter(int number)
{
    const int once = TRY(half(number));
    return std::to_string(TRY_IN("second half", half(once)));
}

TEST(Result, TryPassesValuesOnAndReturnsTheFirstError)
{
    EXPECT_EQ(quarter(8).value(), "2");
    EXPECT_EQ(quarter(7).error().message, "7 is odd");
    EXPECT_EQ(quarter(6).error().message, "second half: 3 is odd");
    EXPECT_EQ(quarter(6).error().code, ErrorCode::InvalidArgument);
}

TEST(Result, HoldsValuesThatCanOnlyBeMoved)
{
    Result<std::unique_ptr<int>> result(std::make_unique<int>(7));
    EXPECT_EQ(*std::move(result).value(), 7);
}

TEST(SystemError, NamesTheCauseAndKeepsTheNumber)
{
    const Error error = systemError(ENOSPC, "cannot write '%s'", "a.save");
    EXPECT_EQ(error.message, "cannot write 'a.save': No space left on device");
    EXPECT_EQ(error.errnum, ENOSPC);
}

TEST(Strprintf, FormatsTextLongerThanAnyFixedBuffer)
{
    const std::string text(100000, 'x');
    EXPECT_EQ(strprintf("<%s>", text.c_str()).size(), text.size() + 2);
}
