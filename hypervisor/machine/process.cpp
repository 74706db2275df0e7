// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/machine/process.h"

#include "base/i18n.h"
#include "conf/handle.h"
#include "conf/libvirt_error.h"

#include <fcntl.h>
#include <fstream>
#include <poll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

namespace godwit::hypervisor::machine {

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::systemError;
using base::tr;
using base::UniqueFd;

using Command = std::unique_ptr<virCommand, conf::FreeWith<virCommandFree>>;

Result<Process> Process::find(pid_t pid)
{
    Process process;
    process.pid_ = pid;
    // glibc has a wrapper only from 2.36 on; the file descriptor is close-on-exec.
    process.fd_.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (!process.fd_)
        return systemError(errno, tr("process %d"), static_cast<int>(pid));
    if (virProcessGetStartTime(pid, &process.startTime_) < 0)
        return conf::takeLibvirtError();
    return process;
}

Result<Process> Process::find(pid_t pid, unsigned long long startTime)
{
    auto process = find(pid);
    if (!process || process->startTime() != startTime || process->waitGone(std::chrono::milliseconds(0)))
        return makeError(ErrorCode::NoDomain, tr("its emulator, process %d, is no more"), static_cast<int>(pid));
    return process;
}

Result<void> Process::signal(int number) const
{
    if (::syscall(SYS_pidfd_send_signal, fd_.get(), number, nullptr, 0) < 0 && errno != ESRCH)
        return systemError(errno, tr("cannot end process %d"), static_cast<int>(pid_));
    return {};
}

void Process::standBack() const
{
    constexpr int niceness = 10;   // a tenth of what another one gets
    size_t count = 0;
    g_autofree pid_t *threads = nullptr;
    if (virProcessGetPids(pid_, &count, &threads) < 0)
        return virResetLastError();
    for (size_t i = 0; i < count; i++)
        (void)::setpriority(PRIO_PROCESS, static_cast<id_t>(threads[i]), niceness);
}

bool Process::waitGone(std::chrono::milliseconds timeout) const
{
    pollfd waited{fd_.get(), POLLIN, 0};
    int ready = 0;
    do
        ready = ::poll(&waited, 1, static_cast<int>(timeout.count()));
    while (ready < 0 && errno == EINTR);
    return ready > 0;
}

LogTail::LogTail(std::string path) : path_(std::move(path))
{
    struct stat status{};
    if (::stat(path_.c_str(), &status) == 0)
        begin_ = status.st_size;
}

std::string LogTail::text() const
{
    constexpr long long most = 2048;
    std::ifstream file(path_, std::ios::ate);
    const long long end = file.tellg();
    if (!file || end <= begin_)
        return {};
    file.seekg(std::max(begin_, end - most));
    std::string text;
    for (std::string line; std::getline(file, line);) {
        // Where its terminals are is told in the definition, and is no reason for anything.
        if (line.empty() || line.starts_with("char device redirected to "))
            continue;
        if (!text.empty())
            text += '\n';
        text += line;
    }
    return text;
}

/// A child of this process may not be: virsh would reap it, and a daemon would take it along.
Result<Process> startDaemon(const CommandLine &line, const std::string &pidFile, const std::string &logPath)
{
    if (!virFileIsExecutable(line.arguments[0].c_str()))
        return systemError(errno, tr("cannot run emulator '%s'"), line.arguments[0].c_str());
    UniqueFd log(::open(logPath.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    if (!log)
        return systemError(errno, tr("cannot open '%s'"), logPath.c_str());

    std::vector<std::string> words = line.launch;
    words.insert(words.end(), line.arguments.begin(), line.arguments.end());
    Command command(virCommandNew(words[0].c_str()));
    for (size_t i = 1; i < words.size(); i++)
        virCommandAddArg(command.get(), words[i].c_str());
    virCommandAddEnvPassCommon(command.get());
    for (const auto &[name, value] : line.environment)
        virCommandAddEnvPair(command.get(), name.c_str(), value.c_str());
    for (const int fd : line.fds)
        virCommandPassFD(command.get(), fd, 0);
    int out = log.get();
    int err = log.get();
    virCommandSetOutputFD(command.get(), &out);
    virCommandSetErrorFD(command.get(), &err);
    virCommandSetPidFile(command.get(), pidFile.c_str());
    virCommandSetUmask(command.get(), 077);
    virCommandDaemonize(command.get());
    TRY(conf::check(virCommandRun(command.get(), nullptr)));

    pid_t pid = 0;
    if (const int failed = virPidFileReadPath(pidFile.c_str(), &pid); failed < 0)
        return systemError(-failed, tr("cannot read '%s'"), pidFile.c_str());
    return Process::find(pid);
}

} // namespace godwit::hypervisor::machine
