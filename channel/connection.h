// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// A migration's connections at work (docs/channel.md): the preface, the streams, and how the
// outcome comes back. Who may connect is in admission.h.

#include "channel/preface.h"
#include "channel/socket.h"
#include "stream/fd_io.h"

#include <memory>
#include <mutex>
#include <optional>

namespace godwit::channel {

/// In their order: the first carries the stream and the outcome, the others pages.
using Sockets = std::vector<std::unique_ptr<Socket>>;

/// Source: show the secret on every connection and wait until the destination has accepted
/// them all.
base::Result<void> present(const Sockets &sockets, const Secret &secret, milliseconds patience);

/// Destination: tell how it went. After a failure the rest of the stream is read and thrown
/// away for a moment, so that the source gets to read the answer.
base::Result<void> sendOutcome(Socket &first, const base::Result<void> &outcome);
/// Destination: the same without waiting for anything, for a process about to exit.
void sendOutcomeAtOnce(Socket &first, const std::string &failure);

/// Source: what the destination says at the end, or when it fails. The threads of all
/// connections may ask.
class OutcomeReader
{
public:
    explicit OutcomeReader(Socket &first) : first_(first) {}

    /// The destination's failure is returned as ours. Nothing, when it does not begin to come
    /// before the deadline.
    std::optional<base::Result<void>> await(Clock::time_point deadline);
    /// Without a limit to waiting: QEMU may be slow, and the driver can abort.
    base::Result<void> await();

private:
    base::Result<bool> begin(std::span<std::byte> into, Clock::time_point deadline);
    base::Result<void> finish(std::span<std::byte> header);

    Socket &first_;
    std::mutex mutex_;                             // for what follows, and for reading
    std::optional<base::Result<void>> outcome_;
};

/// The source's end of one connection's stream: notices at each write when the destination has
/// failed, and returns its cause.
class ChannelSink : public stream::Sink
{
public:
    /// All borrowed. `index` is the connection's.
    ChannelSink(Socket &socket, size_t index, OutcomeReader &outcome, const Interrupt &interrupt)
        : socket_(socket), index_(index), outcome_(outcome), interrupt_(interrupt)
    {
    }

protected:
    base::Result<size_t> writeSome(std::span<const iovec> parts) override;

private:
    base::Result<void> lookBack();
    base::Error explain(base::Error error);

    Socket &socket_;
    const size_t index_;
    OutcomeReader &outcome_;
    const Interrupt &interrupt_;
};

/// The destination's end of the same.
class ChannelSource : public stream::Source
{
public:
    ChannelSource(Socket &socket, const Interrupt &interrupt) : socket_(socket), interrupt_(interrupt) {}

protected:
    base::Result<size_t> readSome(std::span<const iovec> parts) override;

private:
    Socket &socket_;
    const Interrupt &interrupt_;
};

} // namespace godwit::channel
