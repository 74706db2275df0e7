// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/machine/agent_offer.h"

#include "base/strprintf.h"

#include <cstring>
#include <string_view>
#include <sys/socket.h>
#include <unistd.h>

namespace godwit::hypervisor::machine {

using base::UniqueFd;

bool isUserfaultfd(int fd)
{
    char kind[64];
    const ssize_t length = ::readlink(base::strprintf("/proc/self/fd/%d", fd).c_str(), kind, sizeof kind);
    return length > 0 && std::string_view(kind, static_cast<size_t>(length)) == "anon_inode:[userfaultfd]";
}

std::optional<AgentOffer> receiveOffer(int socket)
{
    AgentOffer offer;
    iovec data{&offer.faultsInGuest, sizeof offer.faultsInGuest};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = CMSG_LEN(sizeof(int));   // CMSG_SPACE has room for two
    const ssize_t got = ::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    const cmsghdr *rights = got >= 0 ? CMSG_FIRSTHDR(&message) : nullptr;
    if (!rights || rights->cmsg_level != SOL_SOCKET || rights->cmsg_type != SCM_RIGHTS ||
        rights->cmsg_len != CMSG_LEN(sizeof(int)))
        return std::nullopt;
    int fd = -1;
    memcpy(&fd, CMSG_DATA(rights), sizeof fd);
    offer.faults.reset(fd);
    if (got != sizeof offer.faultsInGuest || message.msg_flags & (MSG_TRUNC | MSG_CTRUNC) || offer.faultsInGuest < 0 ||
        !isUserfaultfd(fd))
        return std::nullopt;
    return offer;
}

} // namespace godwit::hypervisor::machine
