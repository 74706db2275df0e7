// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace godwit::domain {

/// One thread that does what others must not wait for, in the order it was given:
/// guests' events take domain locks and write files, which the event thread may not.
class Worker
{
public:
    Worker();
    /// Does what is still queued, then ends the thread.
    ~Worker();
    void post(std::function<void()> task);

private:
    void run();

    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<std::function<void()>> tasks_;
    bool stopping_ = false;
    std::thread thread_;
};

} // namespace godwit::domain
