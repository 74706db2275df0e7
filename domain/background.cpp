// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/background.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <system_error>
#include <thread>

namespace godwit::domain {

Background::Background() : stopFd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))
{
    if (!stopFd_)
        throw std::system_error(errno, std::system_category(), "eventfd");
}

void Background::run(std::function<void()> task)
{
    std::lock_guard lock(mutex_);
    std::thread thread([this, task = std::move(task)]() mutable {
        task();
        task = nullptr;
        // Told under the lock: whoever waits in stop() may destroy us right afterwards.
        std::lock_guard ending(mutex_);
        running_--;
        ended_.notify_all();
    });
    pthread_setname_np(thread.native_handle(), "godwit-beside");
    running_++;
    thread.detach();
}

void Background::stop()
{
    eventfd_write(stopFd_.get(), 1);
    std::unique_lock lock(mutex_);
    ended_.wait(lock, [this] { return running_ == 0; });
}

} // namespace godwit::domain
