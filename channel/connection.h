// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// The data connection at work: who may connect, and how the outcome comes back.

#include "base/unique_fd.h"
#include "channel/preface.h"
#include "stream/fd_io.h"

#include <chrono>

namespace godwit::channel {

using std::chrono::milliseconds;

/// Source: show the secret and wait until the destination has accepted it.
base::Result<void> present(int fd, const Secret &secret, milliseconds patience);

/// Destination: check the preface of one connection and accept it.
base::Result<void> admit(int fd, const Secret &secret, milliseconds patience);

/// Destination: wait for the one connector that shows the secret. Others are closed: at
/// once when what they show is wrong, after `prefaceTimeout` when they stay silent; none of
/// them delays the right one. The caller then closes the listener.
base::Result<base::UniqueFd> acceptPeer(int listener, const Secret &secret, milliseconds connectTimeout,
                                        milliseconds prefaceTimeout);
/// The same for a peer that knows no preface: the first to connect.
base::Result<base::UniqueFd> acceptAnyone(int listener, milliseconds connectTimeout);

/// Destination: tell how it went. After a failure the rest of the stream is read and thrown
/// away for a moment, so that the source gets to read the answer.
base::Result<void> sendOutcome(int fd, const base::Result<void> &outcome);
/// Destination: the same without waiting for anything, for a process about to exit.
void sendOutcomeAtOnce(int fd, const std::string &failure);

/// Source: what the destination says at the end. Its failure is returned as ours.
base::Result<void> receiveOutcome(int fd);

/// The source's end of the stream: notices at each write when the destination has already
/// failed, and returns its cause.
class ChannelSink : public stream::FdSink
{
public:
    using FdSink::FdSink;

protected:
    base::Result<size_t> writeSome(std::span<const iovec> parts) override;
};

/// A dead peer shows within half a minute, even when nothing is sent.
void keepAlive(int fd);

} // namespace godwit::channel
