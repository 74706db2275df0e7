// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>

namespace godwit::hypervisor::xen {

/// What the watcher's thread must not wait for: each errand has a thread of its own.
class Errands
{
public:
    /// Waits for those under way.
    ~Errands();
    void run(std::function<void()> errand);

private:
    std::mutex mutex_;
    std::condition_variable ended_;
    unsigned running_ = 0;
};

} // namespace godwit::hypervisor::xen
