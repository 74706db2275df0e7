// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// Stock virsh (9.0) saves, dumps and migrates on a thread of its own and waits for it in a main loop
// that the thread ends: a loop that is ended before it has begun runs for ever. No daemon answers that
// soon, but the embedded driver does when there is nothing to do but to refuse.

#include "driver/connection.h"

#include <chrono>
#include <thread>

namespace godwit::driver {

/// By then whoever called from a thread of its own waits for it.
inline constexpr std::chrono::milliseconds callersLead{200};

template <auto Function, typename Signature = decltype(Function)>
struct Unhurried;

template <auto Function, typename T, typename... Arguments>
struct Unhurried<Function, base::Result<T> (*)(virDomainPtr, Arguments...)> {
    static base::Result<T> call(virDomainPtr handle, Arguments... arguments)
    {
        base::Result<T> result = Function(handle, arguments...);
        if (!result && !hostOf(handle).settings().root.empty())
            std::this_thread::sleep_for(callersLead);
        return result;
    }
};

/// `function`, which in embed mode does not fail at once.
template <auto Function>
inline constexpr auto unhurried = &Unhurried<Function>::call;

} // namespace godwit::driver
