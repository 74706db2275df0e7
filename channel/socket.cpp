// SPDX-License-Identifier: LGPL-2.1-or-later
#include "channel/socket.h"

#include "base/i18n.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

namespace godwit::channel {

using namespace base;

static bool wouldBlock()
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

Result<std::optional<size_t>> Socket::sendSome(std::span<const iovec> parts)
{
    msghdr message{};
    message.msg_iov = const_cast<iovec *>(parts.data());
    message.msg_iovlen = std::min<size_t>(parts.size(), IOV_MAX);
    const ssize_t count = ::sendmsg(fd(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count >= 0)
        return std::optional(static_cast<size_t>(count));
    if (wouldBlock())
        return std::optional<size_t>();
    return systemError(errno, tr("cannot send on the data connection"));
}

Result<std::optional<size_t>> Socket::receiveSome(std::span<std::byte> into)
{
    const ssize_t count = ::recv(fd(), into.data(), into.size(), MSG_DONTWAIT);
    if (count >= 0)
        return std::optional(static_cast<size_t>(count));
    if (wouldBlock())
        return std::optional<size_t>();
    if (errno == ECONNRESET)
        return std::optional<size_t>(0);
    return systemError(errno, tr("cannot read the data connection"));
}

Interrupt::Interrupt() : event_(::eventfd(0, EFD_CLOEXEC)) {}

void Interrupt::trip() const
{
    ::eventfd_write(event_.get(), 1);
}

int leftUntil(Clock::time_point deadline)
{
    const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now()).count();
    return static_cast<int>(std::clamp<long long>(left, 0, INT_MAX));
}

Result<bool> waitUntil(int fd, short events, Clock::time_point deadline)
{
    for (;;) {
        pollfd waiting{fd, events, 0};
        const int ready = ::poll(&waiting, 1, leftUntil(deadline));
        if (ready >= 0)
            return ready > 0;
        if (errno != EINTR)
            return systemError(errno, tr("cannot wait for the data connection"));
    }
}

Result<void> sendAll(Socket &socket, std::span<const std::byte> data, Clock::time_point deadline)
{
    while (!data.empty()) {
        const iovec part{const_cast<std::byte *>(data.data()), data.size()};
        if (const auto count = TRY(socket.sendSome({&part, 1})))
            data = data.subspan(*count);
        else if (!TRY(waitUntil(socket.fd(), POLLOUT, deadline)))
            return makeError(ErrorCode::TimedOut, tr("the other side does not read the data connection"));
    }
    return {};
}

Result<bool> receiveAll(Socket &socket, std::span<std::byte> into, Clock::time_point deadline)
{
    while (!into.empty()) {
        const auto count = TRY(socket.receiveSome(into));
        if (count == size_t{0})
            return false;
        if (count)
            into = into.subspan(*count);
        else if (!TRY(waitUntil(socket.fd(), POLLIN, deadline)))
            return makeError(ErrorCode::TimedOut, tr("the other side sends nothing on the data connection"));
    }
    return true;
}

void keepAlive(int fd)
{
    // On sockets that are not TCP these fail, and need not be.
    const auto set = [fd](int level, int option, int value) { ::setsockopt(fd, level, option, &value, sizeof value); };
    set(SOL_SOCKET, SO_KEEPALIVE, 1);
    set(IPPROTO_TCP, TCP_KEEPIDLE, 10);
    set(IPPROTO_TCP, TCP_KEEPINTVL, 5);
    set(IPPROTO_TCP, TCP_KEEPCNT, 4);
    set(IPPROTO_TCP, TCP_NODELAY, 1);
}

} // namespace godwit::channel
