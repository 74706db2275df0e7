// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// An agent that sends what a test wants.

#include "hypervisor/machine/agent_offer.h"

#include <cstdlib>
#include <dirent.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <memory>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

namespace godwit::tests {

/// -1 where there is none.
inline int makeUserfaultfd()
{
    return static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY));
}

/// How many this process has.
inline size_t openDescriptors()
{
    size_t count = 0;
    const std::unique_ptr<DIR, int (*)(DIR *)> folder(::opendir("/proc/self/fd"), ::closedir);
    while (::readdir(folder.get()))
        count++;
    return count;
}

class AgentSocket
{
public:
    AgentSocket()
    {
        int ends[2];
        if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
            std::abort();
        ours_.reset(ends[0]);
        theirs_.reset(ends[1]);
    }
    int ours() const { return ours_.get(); }
    void closeTheirs() { theirs_.reset(); }

    bool send(const void *data, size_t size, const std::vector<int> &fds)
    {
        iovec part{const_cast<void *>(data), size};
        const size_t length = fds.size() * sizeof(int);
        std::vector<cmsghdr> control((CMSG_SPACE(length) + sizeof(cmsghdr) - 1) / sizeof(cmsghdr));
        msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        if (!fds.empty()) {
            message.msg_control = control.data();
            message.msg_controllen = CMSG_SPACE(length);
            control[0].cmsg_level = SOL_SOCKET;
            control[0].cmsg_type = SCM_RIGHTS;
            control[0].cmsg_len = CMSG_LEN(length);
            std::copy(fds.begin(), fds.end(), reinterpret_cast<int *>(CMSG_DATA(&control[0])));
        }
        return ::sendmsg(theirs_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
    }

private:
    base::UniqueFd ours_, theirs_;
};

} // namespace godwit::tests
