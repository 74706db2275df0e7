// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.h"
#include "base/unique_fd.h"
#include "hypervisor/machine/command_line.h"

#include <chrono>
#include <string>
#include <sys/types.h>

namespace godwit::hypervisor::machine {

/// One process, whoever its parent is. Its pidfd can never mean another one.
class Process
{
public:
    Process() = default;
    /// The process that has this id now.
    static base::Result<Process> find(pid_t pid);
    /// The process that had this id and began at this moment; NoDomain if it is no more.
    static base::Result<Process> find(pid_t pid, unsigned long long startTime);

    pid_t pid() const { return pid_; }
    unsigned long long startTime() const { return startTime_; }
    /// Becomes readable when the process has ended.
    int fd() const { return fd_.get(); }

    base::Result<void> signal(int number) const;
    /// From now on its threads leave processors to whoever else wants them. (Best effort.)
    void standBack() const;
    /// False when the process is still there after `timeout`.
    bool waitGone(std::chrono::milliseconds timeout) const;

private:
    pid_t pid_ = 0;
    unsigned long long startTime_ = 0;
    base::UniqueFd fd_;
};

/// What ran into a log file from some point on: the last lines of it, for a message.
class LogTail
{
public:
    LogTail() = default;
    explicit LogTail(std::string path);
    std::string text() const;

private:
    std::string path_;
    long long begin_ = 0;
};

/// Start a program that outlives us, with its output appended to `logPath`. Returns when
/// it has an id, not when it is ready.
base::Result<Process> startDaemon(const CommandLine &line, const std::string &pidFile, const std::string &logPath);

} // namespace godwit::hypervisor::machine
