// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/limiter.h"

#include <atomic>
#include <gtest/gtest.h>
#include <thread>
#include <vector>

using godwit::engine::Limiter;
using namespace std::chrono_literals;

/// How long a limiter of so many bytes per second takes over 50 MB.
static std::chrono::nanoseconds timeFor50MB(uint64_t rate)
{
    Limiter limiter([rate] { return rate; });
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < 50; i++)
        limiter.spend(1'000'000);
    return std::chrono::steady_clock::now() - begin;
}

TEST(Limiter, KeepsTheRate)
{
    const auto slow = timeFor50MB(100'000'000);
    EXPECT_GE(slow, 390ms);   // 500 ms less what the bucket holds
    // A busy host may hold up anything, but not each time.
    auto fast = timeFor50MB(1'000'000'000);
    for (int more = 0; more < 10 && fast >= slow; more++)
        fast = timeFor50MB(1'000'000'000);
    EXPECT_LT(fast, slow);
}

TEST(Limiter, CostsNothingWithoutALimit)
{
    Limiter limited([] { return uint64_t{10'000'000}; });
    limited.spend(10'000'000);
    Limiter limiter([] { return uint64_t{0}; });
    limiter.spend(uint64_t{1} << 40);
    EXPECT_LT(limiter.slept(), limited.slept());
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
    limiter.spend(1'000'000);
    EXPECT_LT(limiter.slept(), 500s) << "half of what the limit would have cost";
    lifter.join();
}

TEST(Limiter, KeepsOneRateForAllWhoShareIt)
{
    constexpr unsigned threads = 4;
    Limiter alone([] { return uint64_t{100'000'000}; });
    Limiter limiter([] { return uint64_t{100'000'000}; }, threads);
    EXPECT_EQ(limiter.portion(), alone.portion() / threads);
    const auto begin = std::chrono::steady_clock::now();
    std::atomic<int64_t> spentNs{0};   // by all
    std::vector<std::thread> senders;
    for (unsigned thread = 0; thread < threads; thread++)
        senders.emplace_back([&] {
            for (int i = 0; i < 10; i++) {
                const auto before = std::chrono::steady_clock::now();
                limiter.spend(1'250'000);
                spentNs += std::chrono::nanoseconds(std::chrono::steady_clock::now() - before).count();
            }
        });
    for (std::thread &sender : senders)
        sender.join();
    EXPECT_GE(std::chrono::steady_clock::now() - begin, 390ms);   // 500 ms less what the bucket holds
    EXPECT_GT(limiter.slept(), 0ns);
    EXPECT_LE(limiter.slept(), std::chrono::nanoseconds(spentNs / threads)) << "the average of the threads, not their sum";
}
