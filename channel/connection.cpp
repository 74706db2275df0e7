// SPDX-License-Identifier: LGPL-2.1-or-later
#include "channel/connection.h"

#include "base/i18n.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

namespace godwit::channel {

using namespace base;
using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

static constexpr auto lastWords = 2s;   // how long a failed side still listens or reads

static int leftUntil(Clock::time_point deadline)
{
    const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now()).count();
    return static_cast<int>(std::clamp<long long>(left, 0, INT_MAX));
}

/// Whether `fd` is ready before the deadline.
static Result<bool> waitUntil(int fd, short events, Clock::time_point deadline)
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

static bool wouldBlock()
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

static Result<void> sendAll(int fd, std::span<const std::byte> data, Clock::time_point deadline)
{
    while (!data.empty()) {
        const ssize_t count = ::send(fd, data.data(), data.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (count > 0)
            data = data.subspan(static_cast<size_t>(count));
        else if (count < 0 && !wouldBlock())
            return systemError(errno, tr("cannot send on the data connection"));
        else if (!TRY(waitUntil(fd, POLLOUT, deadline)))
            return makeError(ErrorCode::TimedOut, tr("the other side does not read the data connection"));
    }
    return {};
}

/// False at the connection's end, before all bytes have come.
static Result<bool> receiveAll(int fd, std::span<std::byte> into, Clock::time_point deadline)
{
    while (!into.empty()) {
        const ssize_t count = ::recv(fd, into.data(), into.size(), MSG_DONTWAIT);
        if (count == 0 || (count < 0 && errno == ECONNRESET))
            return false;
        if (count > 0)
            into = into.subspan(static_cast<size_t>(count));
        else if (!wouldBlock())
            return systemError(errno, tr("cannot read the data connection"));
        else if (!TRY(waitUntil(fd, POLLIN, deadline)))
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

Result<void> present(int fd, const Secret &secret, milliseconds patience)
{
    keepAlive(fd);
    const auto deadline = Clock::now() + patience;
    Preface preface;
    preface.secret = secret;
    TRY(sendAll(fd, encodePreface(preface), deadline));
    std::array<std::byte, 1> answer;
    if (!TRY(receiveAll(fd, answer, deadline)) || answer[0] != accepted)
        return makeError(ErrorCode::OperationFailed, tr("the destination did not accept the data connection"));
    return {};
}

static Result<void> checkPreface(std::span<const std::byte> raw, const Secret &secret)
{
    const Preface preface = TRY(decodePreface(raw));
    if (!equal(preface.secret, secret))
        return makeError(ErrorCode::OperationFailed, tr("the connection's secret is wrong"));
    return {};
}

static Result<void> accept(int fd, Clock::time_point deadline)
{
    keepAlive(fd);
    return sendAll(fd, std::array{accepted}, deadline);
}

Result<void> admit(int fd, const Secret &secret, milliseconds patience)
{
    const auto deadline = Clock::now() + patience;
    std::array<std::byte, prefaceSize> raw;
    if (!TRY(receiveAll(fd, raw, deadline)))
        return makeError(ErrorCode::OperationFailed, tr("the source closed the connection inside its preface"));
    TRY(checkPreface(raw, secret));
    return accept(fd, deadline);
}

namespace {

/// A connector that has not shown its whole preface yet.
struct Candidate {
    UniqueFd fd;
    Clock::time_point deadline;
    std::array<std::byte, prefaceSize> raw{};
    size_t got = 0;
};

/// The listener and everybody who has connected to it.
class Admission
{
public:
    Admission(int listener, const Secret &secret, milliseconds prefaceTimeout)
        : listener_(listener), secret_(secret), prefaceTimeout_(prefaceTimeout)
    {
    }

    Result<UniqueFd> run(Clock::time_point deadline)
    {
        for (;;) {
            TRY(wait(deadline));
            for (Candidate &candidate : candidates_)
                if (advance(candidate))
                    return std::move(candidate.fd);
            std::erase_if(candidates_, [](const Candidate &candidate) {
                return !candidate.fd || candidate.deadline <= Clock::now();
            });
            if (deadline <= Clock::now())
                return makeError(ErrorCode::TimedOut, tr("the source did not connect"));
            TRY(takeConnector());
        }
    }

private:
    static constexpr size_t maxCandidates = 64;

    Result<void> wait(Clock::time_point deadline)
    {
        std::vector<pollfd> waiting{{listener_, POLLIN, 0}};
        for (const Candidate &candidate : candidates_) {
            waiting.push_back({candidate.fd.get(), POLLIN, 0});
            deadline = std::min(deadline, candidate.deadline);
        }
        if (::poll(waiting.data(), waiting.size(), leftUntil(deadline)) < 0 && errno != EINTR)
            return systemError(errno, tr("cannot wait for the source to connect"));
        return {};
    }

    Result<void> takeConnector()
    {
        if (!TRY(waitUntil(listener_, POLLIN, Clock::now())))
            return {};
        UniqueFd fd(::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC));
        if (!fd && !wouldBlock() && errno != ECONNABORTED)
            return systemError(errno, tr("cannot accept a data connection"));
        if (!fd)
            return {};
        if (candidates_.size() == maxCandidates)
            candidates_.erase(candidates_.begin());   // the one that has been silent longest
        Candidate candidate;
        candidate.fd = std::move(fd);
        candidate.deadline = Clock::now() + prefaceTimeout_;
        candidates_.push_back(std::move(candidate));
        return {};
    }

    /// Read what is there; true once the right preface is. A wrong one loses its fd.
    bool advance(Candidate &candidate)
    {
        const auto room = std::span(candidate.raw).subspan(candidate.got);
        const ssize_t count = ::recv(candidate.fd.get(), room.data(), room.size(), MSG_DONTWAIT);
        if (count < 0 && wouldBlock())
            return false;
        if (count > 0)
            candidate.got += static_cast<size_t>(count);
        if (count > 0 && candidate.got < prefaceSize)
            return false;
        if (count > 0 && checkPreface(candidate.raw, secret_) && accept(candidate.fd.get(), candidate.deadline))
            return true;
        candidate.fd.reset();
        return false;
    }

    int listener_;
    const Secret &secret_;
    milliseconds prefaceTimeout_;
    std::vector<Candidate> candidates_;
};

} // namespace

Result<UniqueFd> acceptPeer(int listener, const Secret &secret, milliseconds connectTimeout,
                            milliseconds prefaceTimeout)
{
    return Admission(listener, secret, prefaceTimeout).run(Clock::now() + connectTimeout);
}

Result<UniqueFd> acceptAnyone(int listener, milliseconds connectTimeout)
{
    if (!TRY(waitUntil(listener, POLLIN, Clock::now() + connectTimeout)))
        return makeError(ErrorCode::TimedOut, tr("the source did not connect"));
    UniqueFd fd(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    if (!fd)
        return systemError(errno, tr("cannot accept a data connection"));
    keepAlive(fd.get());
    return fd;
}

Result<void> sendOutcome(int fd, const Result<void> &outcome)
{
    const auto deadline = Clock::now() + lastWords;
    if (outcome)
        return sendAll(fd, encodeOutcome(OutcomeStatus::Restored, ""), deadline);
    TRY(sendAll(fd, encodeOutcome(OutcomeStatus::Failed, outcome.error().message), deadline));
    // Closing with unread bytes would reset the connection, and the answer with it.
    ::shutdown(fd, SHUT_WR);
    std::vector<std::byte> scratch(256 * 1024);
    while (Clock::now() < deadline) {
        const auto more = receiveAll(fd, scratch, deadline);
        if (!more || !*more)
            break;
    }
    return {};
}

void sendOutcomeAtOnce(int fd, const std::string &failure)
{
    const auto raw = encodeOutcome(OutcomeStatus::Failed, failure);
    // Best effort: where it does not fit, the end of the connection has to tell.
    [[maybe_unused]] const ssize_t sent = ::send(fd, raw.data(), raw.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

Result<void> receiveOutcome(int fd)
{
    // No limit to waiting for the first byte: QEMU may be slow, and the driver can abort.
    if (!TRY(waitUntil(fd, POLLIN, Clock::now() + std::chrono::hours(24))))
        return makeError(ErrorCode::TimedOut, tr("the destination does not say how it went"));
    const auto deadline = Clock::now() + lastWords;
    std::array<std::byte, outcomeHeaderSize> raw;
    const auto gone = makeError(ErrorCode::OperationFailed, tr("the destination closed the data connection"));
    if (!TRY(receiveAll(fd, raw, deadline)))
        return gone;
    const OutcomeHeader header = TRY(decodeOutcomeHeader(raw));
    std::vector<std::byte> text(header.textLength);
    if (!TRY(receiveAll(fd, text, deadline)))
        return gone;
    if (header.status == OutcomeStatus::Restored)
        return {};
    // The destination waits for our end of the connection; others may hold the socket too.
    ::shutdown(fd, SHUT_RDWR);
    return makeError(ErrorCode::OperationFailed, tr("destination: %s"), std::string(asText(text)).c_str());
}

Result<size_t> ChannelSink::writeSome(std::span<const iovec> parts)
{
    msghdr message{};
    message.msg_iov = const_cast<iovec *>(parts.data());
    message.msg_iovlen = std::min<size_t>(parts.size(), IOV_MAX);
    for (;;) {
        pollfd waiting{fd_, POLLIN | POLLOUT, 0};
        if (::poll(&waiting, 1, -1) < 0 && errno != EINTR)
            return systemError(errno, tr("cannot wait for the data connection"));
        if (waiting.revents & (POLLIN | POLLHUP | POLLERR)) {
            TRY(receiveOutcome(fd_));
            return makeError(ErrorCode::Internal, tr("the destination answers before it has everything"));
        }
        const ssize_t count = ::sendmsg(fd_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (count > 0)
            return static_cast<size_t>(count);
        if (count < 0 && (errno == EPIPE || errno == ECONNRESET))
            TRY(receiveOutcome(fd_));
        if (count < 0 && !wouldBlock())
            return systemError(errno, tr("cannot send on the data connection"));
    }
}

} // namespace godwit::channel
