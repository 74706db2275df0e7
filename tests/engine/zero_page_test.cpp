// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/zero_page.h"

#include <array>
#include <gtest/gtest.h>

TEST(ZeroPage, SeesEverySingleByte)
{
    std::array<std::byte, godwit::base::pageSize> page{};
    EXPECT_TRUE(godwit::engine::isZeroPage(page.data()));
    for (std::byte &byte : page) {
        byte = std::byte{1};
        EXPECT_FALSE(godwit::engine::isZeroPage(page.data()));
        byte = std::byte{0};
    }
}
