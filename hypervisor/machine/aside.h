// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <memory>
#include <system_error>
#include <thread>
#include <utility>

namespace godwit::hypervisor::machine {

/// Do what takes its time on a thread of its own: neither the event loop nor a client waits for it.
/// (Without a thread to be had it is done here.)
template <typename Task> void doAside(Task task)
{
    const auto shared = std::make_shared<Task>(std::move(task));
    try {
        std::thread([shared] { (*shared)(); }).detach();
    } catch (const std::system_error &) {
        (*shared)();
    }
}

/// Let go of something whose end takes its time.
template <typename T> void dropAside(T owned)
{
    doAside([owned = std::move(owned)]() mutable { const T gone(std::move(owned)); });
}

} // namespace godwit::hypervisor::machine
