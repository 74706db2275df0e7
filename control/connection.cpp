// SPDX-License-Identifier: LGPL-2.1-or-later
#include "control/connection.h"

#include "base/i18n.h"
#include "control/codec.h"

#include <cerrno>
#include <cstring>
#include <poll.h>
#include <sys/socket.h>

namespace godwit::control {

using namespace base;

Result<std::pair<UniqueFd, UniqueFd>> makeConnection()
{
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return systemError(errno, tr("cannot make a connection to a helper"));
    return std::pair(UniqueFd(ends[0]), UniqueFd(ends[1]));
}

static Result<void> waitWritable(int fd, std::chrono::steady_clock::time_point deadline)
{
    using namespace std::chrono;
    const auto left = ceil<milliseconds>(deadline - steady_clock::now()).count();
    pollfd waiting{fd, POLLOUT, 0};
    const int ready = ::poll(&waiting, 1, left > 0 ? static_cast<int>(left) : 0);
    if (ready < 0 && errno != EINTR)
        return systemError(errno, tr("cannot wait for the helper connection"));
    if (ready == 0)
        return makeError(ErrorCode::TimedOut, tr("the other end of the helper connection does not read"));
    return {};
}

Result<void> send(int fd, const Message &message, std::span<const int> fds, std::chrono::milliseconds patience)
{
    if (fds.size() != fdCountOf(message) || fds.size() > maxFds)
        return makeError(ErrorCode::Internal, "helper message %s with %zu fds", nameOf(message), fds.size());
    auto frame = TRY(encode(message));
    iovec data{frame.data(), frame.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(maxFds * sizeof(int))] = {};
    msghdr header{};
    header.msg_iov = &data;
    header.msg_iovlen = 1;
    if (!fds.empty()) {
        header.msg_control = control;
        header.msg_controllen = CMSG_SPACE(fds.size_bytes());
        cmsghdr *rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(fds.size_bytes());
        std::memcpy(CMSG_DATA(rights), fds.data(), fds.size_bytes());
    }
    const auto deadline = std::chrono::steady_clock::now() + patience;
    while (::sendmsg(fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            TRY(waitWritable(fd, deadline));
        else if (errno != EINTR)
            return systemError(errno, tr("cannot send %s to the other end of the helper connection"),
                               nameOf(message));
    }
    return {};
}

/// Owns every fd that came, whatever becomes of the message.
static std::vector<UniqueFd> takeFds(msghdr &header)
{
    std::vector<UniqueFd> fds;
    for (cmsghdr *part = CMSG_FIRSTHDR(&header); part; part = CMSG_NXTHDR(&header, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof fd);
            fds.emplace_back(fd);
        }
    }
    return fds;
}

Result<Received> receive(int fd)
{
    // One byte more than allowed, so that a datagram that is too long shows as such.
    std::vector<std::byte> frame(maxFrame + 1);
    iovec data{frame.data(), frame.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(maxFds * sizeof(int))] = {};
    msghdr header{};
    header.msg_iov = &data;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    ssize_t length;
    do
        length = ::recvmsg(fd, &header, MSG_CMSG_CLOEXEC);
    // A peer that ended without reading all of ours: that is told before, and once, and
    // what it said itself is still there to be read.
    while (length < 0 && (errno == EINTR || errno == ECONNRESET));
    Received received;
    if (length < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return received;
    if (length < 0)
        return systemError(errno, tr("cannot read from the helper connection"));
    if (length <= 0) {
        received.state = Received::State::Closed;
        return received;
    }
    received.fds = takeFds(header);
    if (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
        return makeError(ErrorCode::BadFormat, tr("a message on the helper connection is too long"));
    received.message = TRY(decode(std::span(frame).first(static_cast<size_t>(length))));
    if (received.fds.size() != fdCountOf(received.message))
        return makeError(ErrorCode::BadFormat, tr("helper message %s came with %zu fds"),
                         nameOf(received.message), received.fds.size());
    received.state = Received::State::Arrived;
    return received;
}

} // namespace godwit::control
