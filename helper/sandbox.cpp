// SPDX-License-Identifier: LGPL-2.1-or-later
#include "helper/sandbox.h"

#include "base/i18n.h"

#include <cerrno>
#include <fcntl.h>
#include <memory>
#include <sched.h>
#include <seccomp.h>
#include <sys/prctl.h>

namespace godwit::helper {

using namespace base;

namespace {

struct ReleaseFilter {
    void operator()(void *filter) const { seccomp_release(filter); }
};
using Filter = std::unique_ptr<void, ReleaseFilter>;

constexpr int allowed[] = {
    // The stream, the image, the control connection.
    SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(pread64), SCMP_SYS(pwrite64),
    SCMP_SYS(preadv), SCMP_SYS(pwritev), SCMP_SYS(preadv2), SCMP_SYS(pwritev2), SCMP_SYS(lseek), SCMP_SYS(close),
    SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(statx), SCMP_SYS(fcntl), SCMP_SYS(dup), SCMP_SYS(dup3),
    SCMP_SYS(fsync), SCMP_SYS(fdatasync), SCMP_SYS(sync_file_range), SCMP_SYS(ftruncate), SCMP_SYS(fallocate),
    SCMP_SYS(fadvise64), SCMP_SYS(copy_file_range), SCMP_SYS(splice), SCMP_SYS(tee), SCMP_SYS(vmsplice),
    SCMP_SYS(sendfile), SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(pipe2), SCMP_SYS(eventfd2),
    SCMP_SYS(accept4), SCMP_SYS(sendmsg), SCMP_SYS(recvmsg), SCMP_SYS(sendto), SCMP_SYS(recvfrom),
    SCMP_SYS(shutdown), SCMP_SYS(setsockopt), SCMP_SYS(getsockopt), SCMP_SYS(getsockname), SCMP_SYS(getpeername),
    // Memory.
    SCMP_SYS(brk), SCMP_SYS(mmap), SCMP_SYS(munmap), SCMP_SYS(mprotect), SCMP_SYS(mremap), SCMP_SYS(madvise),
    SCMP_SYS(memfd_create), SCMP_SYS(mincore), SCMP_SYS(msync),
    // Dirty pages: /proc/PID, userfaultfd's and pagemap's ioctls, the guest's threads held meanwhile.
    SCMP_SYS(ioctl), SCMP_SYS(readlink), SCMP_SYS(readlinkat), SCMP_SYS(getdents64), SCMP_SYS(access),
    SCMP_SYS(ptrace), SCMP_SYS(wait4), SCMP_SYS(pidfd_open), SCMP_SYS(pidfd_getfd), SCMP_SYS(process_vm_readv),
    // Threads and time.
    SCMP_SYS(futex), SCMP_SYS(set_robust_list), SCMP_SYS(set_tid_address), SCMP_SYS(rseq), SCMP_SYS(gettid),
    SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity), SCMP_SYS(membarrier), SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_getres), SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep), SCMP_SYS(gettimeofday),
    SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(sigaltstack),
    SCMP_SYS(tgkill), SCMP_SYS(restart_syscall), SCMP_SYS(exit), SCMP_SYS(exit_group),
    // Who and where one is.
    SCMP_SYS(getpid), SCMP_SYS(getppid), SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(getgid), SCMP_SYS(getegid),
    SCMP_SYS(getcwd), SCMP_SYS(uname), SCMP_SYS(sysinfo), SCMP_SYS(getrusage), SCMP_SYS(prlimit64),
    SCMP_SYS(getrandom), SCMP_SYS(prctl), SCMP_SYS(setsid),
};

/// libseccomp's answers are negative errno values.
Result<void> check(int answer)
{
    if (answer < 0)
        return systemError(-answer, tr("cannot confine the transfer helper"));
    return {};
}

Result<void> addRules(scmp_filter_ctx filter)
{
    for (const int call : allowed)
        TRY(check(seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0)));
    // Threads, but no processes. glibc falls back to clone() when there is no clone3(), whose
    // flags a filter cannot see.
    TRY(check(seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                               SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD))));
    TRY(check(seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0)));
    TRY(check(seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(openat), 1,
                               SCMP_A2(SCMP_CMP_MASKED_EQ, O_CREAT | O_TRUNC, 0))));
    return {};
}

} // namespace

Result<void> enterSandbox()
{
    if (!sandboxDeniesCalls) {
        if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
            return systemError(errno, tr("cannot confine the transfer helper"));
        return {};
    }
    const Filter filter(seccomp_init(SCMP_ACT_ERRNO(EPERM)));
    if (!filter)
        return systemError(ENOMEM, tr("cannot confine the transfer helper"));
    TRY(addRules(filter.get()));
    return check(seccomp_load(filter.get()));
}

} // namespace godwit::helper
