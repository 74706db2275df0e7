// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/held_process.h"

#include "base/i18n.h"
#include "base/strprintf.h"

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <sys/ptrace.h>
#include <sys/wait.h>

namespace godwit::engine {

using namespace base;

HeldProcess::~HeldProcess()
{
    for (const auto &[thread, signal] : threads_)
        ::ptrace(PTRACE_DETACH, thread, nullptr, signal);
}

Result<void> HeldProcess::hold(pid_t pid)
{
    // Threads are born while others are being stopped: until a pass finds no new one.
    while (TRY(holdNewThreads(pid)))
        ;
    return {};
}

Result<bool> HeldProcess::holdNewThreads(pid_t pid)
{
    bool found = false;
    std::error_code failure;
    std::filesystem::directory_iterator tasks(strprintf("/proc/%d/task", pid), failure);
    if (failure)
        return systemError(failure.value(), tr("cannot list the threads of process %d"), pid);
    for (const auto &task : tasks) {
        const pid_t thread = std::atoi(task.path().filename().c_str());
        if (threads_.contains(thread))
            continue;
        found = true;
        TRY(holdThread(thread));
    }
    return found;
}

Result<void> HeldProcess::holdThread(pid_t thread)
{
    if (::ptrace(PTRACE_SEIZE, thread, nullptr, nullptr) < 0) {
        if (errno == ESRCH)
            return {};   // it has ended meanwhile
        return systemError(errno, tr("cannot hold thread %d"), thread);
    }
    threads_[thread] = 0;
    ::ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr);
    int status = 0;
    while (::waitpid(thread, &status, __WALL) < 0 && errno == EINTR)
        ;
    if (!WIFSTOPPED(status)) {
        threads_.erase(thread);
        return {};
    }
    // Stopped by a signal on its way instead of by us: it must not be lost.
    const bool ours = status >> 16 == PTRACE_EVENT_STOP;
    if (!ours)
        threads_[thread] = WSTOPSIG(status);
    return {};
}

} // namespace godwit::engine
