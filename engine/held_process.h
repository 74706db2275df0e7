// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.h"

#include <map>
#include <sys/types.h>

namespace godwit::engine {

/// Holds every thread of another process still, as a debugger does: when we die, the kernel
/// lets them go. To be used and destroyed by one thread.
class HeldProcess
{
public:
    HeldProcess() = default;
    HeldProcess(const HeldProcess &) = delete;
    HeldProcess &operator=(const HeldProcess &) = delete;
    ~HeldProcess();   ///< lets go

    /// Returns when all of them stand still.
    base::Result<void> hold(pid_t pid);

private:
    base::Result<bool> holdNewThreads(pid_t pid);
    base::Result<void> holdThread(pid_t thread);

    std::map<pid_t, int> threads_;   // with the signal each still has to get
};

} // namespace godwit::engine
