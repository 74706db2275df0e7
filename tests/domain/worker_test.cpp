// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/worker.h"

#include <future>
#include <gtest/gtest.h>

namespace godwit::domain {

TEST(WorkerThread, DoesThingsInTheirOrderOnAThreadOfItsOwn)
{
    std::vector<int> done;
    std::thread::id thread;
    {
        Worker worker;
        for (int i = 0; i < 100; i++) {
            worker.post([&, i] {
                done.push_back(i);
                thread = std::this_thread::get_id();
            });
        }
    }
    ASSERT_EQ(done.size(), 100u) << "what is queued is done before the end";
    EXPECT_TRUE(std::is_sorted(done.begin(), done.end()));
    EXPECT_NE(thread, std::this_thread::get_id());
}

TEST(WorkerThread, TakesWorkFromItsOwnTasks)
{
    std::promise<void> done;
    Worker worker;
    worker.post([&] { worker.post([&] { done.set_value(); }); });
    EXPECT_EQ(done.get_future().wait_for(std::chrono::minutes(1)), std::future_status::ready);
}

TEST(WorkerThread, LetsGoOfATaskBeforeTheNext)
{
    Worker worker;
    auto held = std::make_shared<int>(1);
    std::weak_ptr<int> watched = held;
    std::promise<bool> gone;
    worker.post([held = std::move(held)] {});
    worker.post([&] { gone.set_value(watched.expired()); });
    EXPECT_TRUE(gone.get_future().get());
}

} // namespace godwit::domain
