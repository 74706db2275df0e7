// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <system_error>
#include <thread>
#include <utility>

namespace godwit::hypervisor::machine {

// What takes its time goes on a thread of its own: neither the event loop nor a client waits for it.
// (Without a thread to be had it is done here.)

/// `task` may be copied.
template <typename Task> void doAside(Task task)
{
    try {
        std::thread(task).detach();
    } catch (const std::system_error &) {
        task();
    }
}

/// Let go of something whose end takes its time.
template <typename T> void dropAside(T owned)
{
    try {
        std::thread([owned = std::move(owned)]() mutable { const T gone(std::move(owned)); }).detach();
    } catch (const std::system_error &) {
        // It went with the task.
    }
}

} // namespace godwit::hypervisor::machine
