// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/xen/errands.h"

#include <thread>

namespace godwit::hypervisor::xen {

Errands::~Errands()
{
    std::unique_lock lock(mutex_);
    ended_.wait(lock, [this] { return running_ == 0; });
}

void Errands::run(std::function<void()> errand)
{
    {
        std::lock_guard lock(mutex_);
        running_++;
    }
    std::thread([this, errand = std::move(errand)]() mutable {
        errand();
        errand = {};   // what it held may end here, and needs us
        std::lock_guard lock(mutex_);
        running_--;
        ended_.notify_all();
    }).detach();
}

} // namespace godwit::hypervisor::xen
