// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/workers.h"

#include <atomic>
#include <gtest/gtest.h>

using namespace godwit::base;
using namespace godwit::engine;

TEST(Workers, DoEveryJobOnce)
{
    std::vector<std::atomic<int>> done(1000);
    Workers<size_t> workers([&](size_t job, std::span<std::byte> scratch) -> Result<void> {
        EXPECT_EQ(reinterpret_cast<uintptr_t>(scratch.data()) % pageSize, 0u);
        done[job]++;
        return {};
    });
    for (size_t job = 0; job < done.size(); job++)
        ASSERT_TRUE(workers.push(job));
    ASSERT_TRUE(workers.drain());
    for (const auto &count : done)
        EXPECT_EQ(count, 1);
    ASSERT_TRUE(workers.drain());
    ASSERT_TRUE(workers.push(0)) << "they take more after a drain";
    ASSERT_TRUE(workers.drain());
    EXPECT_EQ(done[0], 2);
}

TEST(Workers, StopAtTheFirstFailure)
{
    std::atomic<int> begun = 0;
    Workers<int> workers([&](int job, std::span<std::byte>) -> Result<void> {
        begun++;
        if (job == 3)
            return makeError(ErrorCode::OperationFailed, "job %d", job);
        return {};
    });
    Result<void> pushed;
    int job = 0;
    while (pushed && job < 1000000)
        pushed = workers.push(job++);
    ASSERT_FALSE(pushed) << "a failure shows while jobs are pushed";
    EXPECT_EQ(pushed.error().message, "job 3");
    EXPECT_EQ(workers.drain().error().message, "job 3");
    EXPECT_LT(begun, 1000000);
}

TEST(Workers, MayBeGivenUpWithJobsWaiting)
{
    std::atomic<int> begun = 0;
    {
        Workers<int> workers([&](int, std::span<std::byte>) -> Result<void> {
            begun++;
            return {};
        });
        for (int job = 0; job < 10; job++)
            ASSERT_TRUE(workers.push(job));
    }
    EXPECT_LE(begun, 10);
}
