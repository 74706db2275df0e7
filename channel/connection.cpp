// SPDX-License-Identifier: LGPL-2.1-or-later
#include "channel/connection.h"

#include "base/i18n.h"
#include "base/strprintf.h"

#include <array>
#include <cerrno>
#include <sys/socket.h>

namespace godwit::channel {

using namespace base;
using namespace std::chrono_literals;

static constexpr auto lastWords = 2s;     // how long a failed side still listens or reads
static constexpr auto afterthought = 500ms;   // a broken connection's cause may be on its way

// ---- the preface --------------------------------------------------------------------------

static Result<void> awaitAnswer(Socket &socket, Clock::time_point deadline)
{
    std::array<std::byte, 1> answer;
    if (!TRY(receiveAll(socket, answer, deadline)) || answer[0] != accepted)
        return makeError(ErrorCode::OperationFailed, tr("the destination did not accept the data connection"));
    return {};
}

Result<void> present(const Sockets &sockets, const Secret &secret, milliseconds patience)
{
    const auto deadline = Clock::now() + patience;
    Preface preface;
    preface.secret = secret;
    preface.count = static_cast<uint32_t>(sockets.size());
    for (const auto &socket : sockets) {
        keepAlive(socket->fd());
        TRY(sendAll(*socket, encodePreface(preface), deadline));
        preface.index++;
    }
    for (const auto &socket : sockets)
        TRY(awaitAnswer(*socket, deadline));
    return {};
}

// ---- the outcome --------------------------------------------------------------------------

Result<void> sendOutcome(Socket &first, const Result<void> &outcome)
{
    const auto deadline = Clock::now() + lastWords;
    if (outcome)
        return sendAll(first, encodeOutcome(OutcomeStatus::Restored, ""), deadline);
    TRY(sendAll(first, encodeOutcome(OutcomeStatus::Failed, outcome.error().message), deadline));
    // Closing with unread bytes would reset the connection, and the answer with it.
    ::shutdown(first.fd(), SHUT_WR);
    std::vector<std::byte> scratch(256 * 1024);
    while (Clock::now() < deadline) {
        const auto more = receiveAll(first, scratch, deadline);
        if (!more || !*more)
            break;
    }
    return {};
}

void sendOutcomeAtOnce(Socket &first, const std::string &failure)
{
    const auto raw = encodeOutcome(OutcomeStatus::Failed, failure);
    // Best effort: where it does not fit, the end of the connection has to tell.
    const iovec part = stream::part(raw.data(), raw.size());
    (void)first.sendSome({&part, 1}).has_value();
}

/// The first bytes, for which alone one waits long; false when none come.
Result<bool> OutcomeReader::begin(std::span<std::byte> into, Clock::time_point deadline)
{
    for (;;) {
        const auto count = TRY(first_.receiveSome(into.first(1)));
        if (count == size_t{0})
            return makeError(ErrorCode::OperationFailed, tr("the destination closed the data connection"));
        if (count)
            return true;
        if (!TRY(waitUntil(first_.fd(), POLLIN, deadline)))
            return false;
    }
}

Result<void> OutcomeReader::finish(std::span<std::byte> header)
{
    const auto deadline = Clock::now() + lastWords;
    const auto gone = makeError(ErrorCode::OperationFailed, tr("the destination closed the data connection"));
    if (!TRY(receiveAll(first_, header.subspan(1), deadline)))
        return gone;
    const OutcomeHeader decoded = TRY(decodeOutcomeHeader(header));
    std::vector<std::byte> text(decoded.textLength);
    if (!TRY(receiveAll(first_, text, deadline)))
        return gone;
    if (decoded.status == OutcomeStatus::Restored)
        return {};
    // The destination waits for our end of the connection; others may hold the socket too.
    ::shutdown(first_.fd(), SHUT_RDWR);
    return makeError(ErrorCode::OperationFailed, tr("destination: %s"), std::string(asText(text)).c_str());
}

std::optional<Result<void>> OutcomeReader::await(Clock::time_point deadline)
{
    const std::lock_guard lock(mutex_);
    if (outcome_)
        return outcome_;
    std::array<std::byte, outcomeHeaderSize> header;
    const auto begun = begin(header, deadline);
    if (begun && !*begun)
        return {};
    outcome_ = begun ? finish(header) : Result<void>(begun.error());
    return outcome_;
}

Result<void> OutcomeReader::await()
{
    if (const auto outcome = await(Clock::now() + std::chrono::hours(24)))
        return *outcome;
    return makeError(ErrorCode::TimedOut, tr("the destination does not say how it went"));
}

// ---- the streams --------------------------------------------------------------------------

static Error interrupted()
{
    return makeError(ErrorCode::Aborted, "another connection has failed");
}

/// The destination's word, when it has one, explains more than a broken connection does.
Error ChannelSink::explain(Error error)
{
    if (const auto outcome = outcome_.await(Clock::now() + afterthought); outcome && !*outcome)
        return outcome->error();
    return index_ == 0 ? error : error.in(strprintf(tr("connection %zu"), index_));
}

/// Something has come the wrong way: the outcome on the first connection, on others their end.
Result<void> ChannelSink::lookBack()
{
    if (index_ == 0) {
        const auto outcome = outcome_.await(Clock::now());
        if (!outcome)
            return {};
        TRY(Result<void>(*outcome));
        return makeError(ErrorCode::Internal, tr("the destination answers before it has everything"));
    }
    std::array<std::byte, 1> unexpected;
    const auto count = socket_.receiveSome(unexpected);
    if (count && !*count)
        return {};
    return explain(count ? makeError(ErrorCode::OperationFailed, tr("the destination closed the data connection"))
                         : count.error());
}

Result<size_t> ChannelSink::writeSome(std::span<const iovec> parts)
{
    for (;;) {
        std::array<pollfd, 2> waiting{pollfd{socket_.fd(), POLLIN | POLLOUT, 0}, pollfd{interrupt_.fd(), POLLIN, 0}};
        if (::poll(waiting.data(), waiting.size(), -1) < 0 && errno != EINTR)
            return systemError(errno, tr("cannot wait for the data connection"));
        if (waiting[1].revents)
            return interrupted();
        if (waiting[0].revents & (POLLIN | POLLHUP | POLLERR))
            TRY(lookBack());
        const auto count = socket_.sendSome(parts);
        if (!count)
            return explain(count.error());
        if (*count)
            return **count;
    }
}

Result<size_t> ChannelSource::readSome(std::span<const iovec> parts)
{
    const std::span into(static_cast<std::byte *>(parts[0].iov_base), parts[0].iov_len);
    for (;;) {
        if (const auto count = TRY(socket_.receiveSome(into)))
            return *count;
        std::array<pollfd, 2> waiting{pollfd{socket_.fd(), POLLIN, 0}, pollfd{interrupt_.fd(), POLLIN, 0}};
        if (::poll(waiting.data(), waiting.size(), -1) < 0 && errno != EINTR)
            return systemError(errno, tr("cannot wait for the data connection"));
        if (waiting[1].revents)
            return interrupted();
    }
}

} // namespace godwit::channel
