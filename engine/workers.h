// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.h"
#include "base/units.h"

#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <vector>

namespace godwit::engine {

/// As many as there are processors for us, four at most.
inline unsigned workerCount()
{
    return std::min(4U, std::max(1U, std::thread::hardware_concurrency()));
}

/// Threads that do jobs in no particular order. After the first failure no job is begun.
template <typename Job>
class Workers
{
public:
    /// Each thread brings a buffer of `scratchSize` bytes, page-aligned and its own.
    static constexpr size_t scratchSize = 512 * 1024;
    using Work = std::function<base::Result<void>(const Job &, std::span<std::byte> scratch)>;

    explicit Workers(Work work, unsigned count = workerCount()) : work_(std::move(work))
    {
        for (unsigned i = 0; i < count; i++)
            threads_.emplace_back([this] { run(); });
    }
    Workers(const Workers &) = delete;
    Workers &operator=(const Workers &) = delete;
    /// Jobs that nobody has begun are dropped.
    ~Workers()
    {
        {
            const std::lock_guard lock(mutex_);
            ending_ = true;
        }
        ready_.notify_all();
        for (std::thread &thread : threads_)
            thread.join();
    }

    /// Waits while many jobs wait. Returns the first failure, once there is one.
    base::Result<void> push(Job job)
    {
        std::unique_lock lock(mutex_);
        room_.wait(lock, [this] { return failure_ || jobs_.size() < maxWaiting; });
        if (failure_)
            return *failure_;
        jobs_.push_back(std::move(job));
        lock.unlock();
        ready_.notify_one();
        return {};
    }

    /// Wait until every job is done.
    base::Result<void> drain()
    {
        std::unique_lock lock(mutex_);
        room_.wait(lock, [this] { return idle(); });
        if (failure_)
            return *failure_;
        return {};
    }

private:
    // Enough to keep all threads busy, few enough to stop soon. Who waits to push is woken when half of them are
    // begun: not for each, which would take turns with the threads.
    static constexpr size_t maxWaiting = 16, refillAt = maxWaiting / 2;

    bool idle() const { return busy_ == 0 && (failure_ || jobs_.empty()); }

    void run()
    {
        const std::unique_ptr<std::byte, decltype(&std::free)> scratch(
            static_cast<std::byte *>(std::aligned_alloc(base::pageSize, scratchSize)), &std::free);
        std::unique_lock lock(mutex_);
        for (;;) {
            ready_.wait(lock, [this] { return ending_ || (!jobs_.empty() && !failure_); });
            if (ending_)
                return;
            const Job job = std::move(jobs_.front());
            jobs_.pop_front();
            busy_++;
            if (jobs_.size() == refillAt)
                room_.notify_all();
            lock.unlock();
            base::Result<void> done = perform(job, scratch.get());
            lock.lock();
            busy_--;
            if (!done && !failure_)
                failure_ = std::move(done).error();
            if (failure_ || idle())
                room_.notify_all();
        }
    }

    base::Result<void> perform(const Job &job, std::byte *scratch) const
    {
        if (!scratch)
            return base::systemError(ENOMEM, "aligned_alloc");
        return work_(job, std::span(scratch, scratchSize));
    }

    const Work work_;
    std::mutex mutex_;                     // for what follows
    std::condition_variable ready_;        // for who works: jobs, or the end
    std::condition_variable room_;         // for who pushes or drains
    std::deque<Job> jobs_;
    size_t busy_ = 0;
    bool ending_ = false;
    std::optional<base::Error> failure_;
    std::vector<std::thread> threads_;     // last: they use all of the above
};

} // namespace godwit::engine
