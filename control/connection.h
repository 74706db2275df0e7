// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.h"
#include "base/unique_fd.h"
#include "control/messages.h"

#include <chrono>
#include <span>
#include <utility>
#include <vector>

namespace godwit::control {

/// Both ends of a new connection: SOCK_SEQPACKET, close-on-exec, blocking. The driver
/// keeps the first and lets the helper inherit the second (--control-fd).
base::Result<std::pair<base::UniqueFd, base::UniqueFd>> makeConnection();

/// What receive() found.
struct Received {
    enum class State {
        Arrived,   ///< `message` and its fds
        Nothing,   ///< no message waits (the fd is non-blocking)
        Closed,    ///< the peer is gone
    };
    State state = State::Nothing;
    Message message;
    std::vector<base::UniqueFd> fds;   ///< as many as the message's fdCount
};

/// Send one message with its fds (borrowed). Waits at most `patience` for a peer that does
/// not read, whether `fd` blocks or not; then ErrorCode::TimedOut. Never raises SIGPIPE.
base::Result<void> send(int fd, const Message &message, std::span<const int> fds = {},
                        std::chrono::milliseconds patience = std::chrono::seconds(1));

/// Take one message: waits for it when `fd` blocks, never when it does not. An error means
/// that the peer broke the protocol (or a system call failed): close the connection.
base::Result<Received> receive(int fd);

} // namespace godwit::control
