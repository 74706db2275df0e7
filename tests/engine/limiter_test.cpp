// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/limiter.h"

#include <atomic>
#include <gtest/gtest.h>
#include <thread>

using godwit::engine::Limiter;
using namespace std::chrono_literals;

TEST(Limiter, KeepsTheRate)
{
    Limiter limiter([] { return uint64_t{100'000'000}; });
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < 50; i++)
        limiter.spend(1'000'000);
    const auto took = std::chrono::steady_clock::now() - begin;
    EXPECT_GE(took, 390ms);   // 500 ms less what the bucket holds
    EXPECT_LE(took, 700ms);
}

TEST(Limiter, CostsNothingWithoutALimit)
{
    Limiter limiter([] { return uint64_t{0}; });
    limiter.spend(uint64_t{1} << 40);
    EXPECT_LT(limiter.slept(), 10ms);
    EXPECT_EQ(limiter.portion(), ~uint64_t{0});
}

TEST(Limiter, NoticesThatTheLimitIsLifted)
{
    std::atomic<uint64_t> rate{1000};
    Limiter limiter([&] { return rate.load(); });
    std::thread lifter([&] {
        std::this_thread::sleep_for(100ms);
        rate = 0;
    });
    limiter.spend(1'000'000);   // would take a quarter of an hour
    EXPECT_LT(limiter.slept(), 500ms);
    lifter.join();
}
