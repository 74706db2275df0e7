// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/worker.h"

#include <pthread.h>

namespace godwit::domain {

Worker::Worker() : thread_([this] { run(); })
{
    pthread_setname_np(thread_.native_handle(), "godwit-worker");
}

Worker::~Worker()
{
    {
        std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_one();
    thread_.join();
}

void Worker::post(std::function<void()> task)
{
    {
        std::lock_guard lock(mutex_);
        tasks_.push_back(std::move(task));
    }
    changed_.notify_one();
}

void Worker::run()
{
    std::unique_lock lock(mutex_);
    for (;;) {
        changed_.wait(lock, [this] { return stopping_ || !tasks_.empty(); });
        if (tasks_.empty())
            return;
        auto task = std::move(tasks_.front());
        tasks_.pop_front();
        lock.unlock();
        task();
        task = nullptr;
        lock.lock();
    }
}

} // namespace godwit::domain
