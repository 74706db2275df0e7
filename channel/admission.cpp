// SPDX-License-Identifier: LGPL-2.1-or-later
#include "channel/admission.h"

#include "base/i18n.h"
#include "base/strprintf.h"

#include <algorithm>
#include <cerrno>
#include <sys/socket.h>

namespace godwit::channel {

using namespace base;

/// Which of `count` connections one is, by its preface.
static Result<uint32_t> checkPreface(std::span<const std::byte> raw, const Secret &secret, uint32_t count)
{
    const Preface preface = TRY(decodePreface(raw));
    if (!equal(preface.secret, secret))
        return makeError(ErrorCode::OperationFailed, tr("the connection's secret is wrong"));
    if (preface.count != count)
        return makeError(ErrorCode::OperationFailed, tr("the source makes %u connections instead of %u"),
                         preface.count, count);
    return preface.index;
}

static Result<void> accept(Socket &socket, Clock::time_point deadline)
{
    keepAlive(socket.fd());
    return sendAll(socket, std::array{accepted}, deadline);
}

Result<void> admit(Socket &socket, const Secret &secret, milliseconds patience)
{
    const auto deadline = Clock::now() + patience;
    std::array<std::byte, prefaceSize> raw;
    if (!TRY(receiveAll(socket, raw, deadline)))
        return makeError(ErrorCode::OperationFailed, tr("the source closed the connection inside its preface"));
    TRY(checkPreface(raw, secret, 1));
    return accept(socket, deadline);
}

/// The next connector, if there is one.
static Result<UniqueFd> takeConnector(int listener)
{
    UniqueFd fd(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    const bool transient = errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR || errno == ECONNABORTED;
    if (!fd && !transient)
        return systemError(errno, tr("cannot accept a data connection"));
    return fd;
}

namespace {

/// A connector that has not shown its whole preface yet.
struct Candidate {
    std::unique_ptr<Socket> socket;
    TlsSocket *handshaking = nullptr;   ///< the same, until it is known who that is
    Clock::time_point deadline;
    std::array<std::byte, prefaceSize> raw{};
    size_t got = 0;
};

/// The listener and everybody who has connected to it.
class Admission
{
public:
    Admission(int listener, const Expected &expected)
        : listener_(listener), expected_(expected), deadline_(Clock::now() + expected.connectTimeout),
          admitted_(expected.count)
    {
    }

    Result<Sockets> run()
    {
        for (;;) {
            TRY(wait());
            for (Candidate &candidate : candidates_)
                if (auto going = advance(candidate); !going) {
                    refused_ = going.error().message;
                    candidate.socket.reset();
                } else if (candidate.deadline <= Clock::now()) {
                    candidate.socket.reset();
                }
            std::erase_if(candidates_, [](const Candidate &candidate) { return !candidate.socket; });
            if (missing() == 0)
                return std::move(admitted_);
            if (deadline_ <= Clock::now())
                return late();
            TRY(listen());
        }
    }

private:
    static constexpr size_t maxCandidates = 64;

    size_t missing() const
    {
        return static_cast<size_t>(std::ranges::count_if(admitted_, [](const auto &socket) { return !socket; }));
    }

    Error late() const
    {
        Error error = makeError(ErrorCode::TimedOut, tr("the source made only %zu of its %zu connections"),
                                admitted_.size() - missing(), admitted_.size());
        if (missing() == admitted_.size())
            error = makeError(ErrorCode::TimedOut, tr("the source did not connect"));
        if (!refused_.empty())
            error.message += strprintf(tr("; somebody was refused: %s"), refused_.c_str());
        return error;
    }

    Result<void> wait()
    {
        auto deadline = deadline_;
        std::vector<pollfd> waiting{{listener_, POLLIN, 0}};
        for (const Candidate &candidate : candidates_) {
            const short awaited = candidate.handshaking ? candidate.handshaking->waitsFor() : short{POLLIN};
            waiting.push_back({candidate.socket->fd(), awaited, 0});
            deadline = std::min(deadline, candidate.deadline);
        }
        if (::poll(waiting.data(), waiting.size(), leftUntil(deadline)) < 0 && errno != EINTR)
            return systemError(errno, tr("cannot wait for the source to connect"));
        return {};
    }

    Result<void> listen()
    {
        if (!TRY(waitUntil(listener_, POLLIN, Clock::now())))
            return {};
        UniqueFd fd = TRY(takeConnector(listener_));
        if (!fd)
            return {};
        if (candidates_.size() == maxCandidates)
            candidates_.erase(candidates_.begin());   // the one that has been silent longest
        Candidate candidate;
        if (expected_.tls) {
            auto tls = TRY(TlsSocket::make(std::move(fd), *expected_.tls));
            candidate.handshaking = tls.get();
            candidate.socket = std::move(tls);
        } else {
            candidate.socket = std::make_unique<Socket>(std::move(fd));
        }
        candidate.deadline = Clock::now() + expected_.prefaceTimeout;
        candidates_.push_back(std::move(candidate));
        return {};
    }

    /// Read what is there; once the right preface is, the candidate's socket is admitted. An
    /// error says that it never will be.
    Result<void> advance(Candidate &candidate)
    {
        if (candidate.handshaking && !TRY(candidate.handshaking->handshakeSome()))
            return {};
        candidate.handshaking = nullptr;
        const auto count = TRY(candidate.socket->receiveSome(std::span(candidate.raw).subspan(candidate.got)));
        if (!count)
            return {};
        candidate.got += *count;
        if (*count == 0)
            return makeError(ErrorCode::OperationFailed, tr("the source closed the connection inside its preface"));
        if (candidate.got < prefaceSize)
            return {};
        const uint32_t index = TRY(checkPreface(candidate.raw, expected_.secret, expected_.count));
        if (admitted_[index])
            return makeError(ErrorCode::OperationFailed, tr("the source makes connection %u a second time"), index);
        TRY(accept(*candidate.socket, candidate.deadline));
        admitted_[index] = std::move(candidate.socket);
        return {};
    }

    const int listener_;
    const Expected &expected_;
    const Clock::time_point deadline_;
    std::vector<Candidate> candidates_;
    Sockets admitted_;                    // by index; null while it is missing
    std::string refused_;                 // why somebody was, lately
};

} // namespace

Result<Sockets> acceptPeers(int listener, const Expected &expected)
{
    return Admission(listener, expected).run();
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

} // namespace godwit::channel
