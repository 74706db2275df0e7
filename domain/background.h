// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/unique_fd.h"

#include <condition_variable>
#include <functional>
#include <mutex>

namespace godwit::domain {

/// Runs what takes long (ending a guest, asking a peer) beside everything else, each task on a
/// thread of its own. For callbacks that libvirt calls on the daemon's main thread, with the
/// daemon locked: nothing may wait there.
class Background
{
public:
    Background();
    ~Background() { stop(); }
    Background(const Background &) = delete;
    Background &operator=(const Background &) = delete;

    void run(std::function<void()> task);
    /// Tell tasks that wait for somebody outside to give up, and wait for all of them.
    void stop();
    /// Becomes readable when they shall.
    int stopFd() const { return stopFd_.get(); }

private:
    base::UniqueFd stopFd_;
    std::mutex mutex_;
    std::condition_variable ended_;
    unsigned running_ = 0;
};

} // namespace godwit::domain
