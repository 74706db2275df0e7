// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// One end of one data connection, and how to wait for it.

#include "base/result.h"
#include "base/unique_fd.h"

#include <chrono>
#include <cstddef>
#include <optional>
#include <poll.h>
#include <span>
#include <sys/uio.h>

namespace godwit::channel {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

/// A connected stream socket. One thread may send while another receives. Nothing here waits.
class Socket
{
public:
    explicit Socket(base::UniqueFd fd) : fd_(std::move(fd)) {}
    Socket(const Socket &) = delete;
    Socket &operator=(const Socket &) = delete;
    virtual ~Socket() = default;

    int fd() const { return fd_.get(); }

    /// How many bytes went; nothing when none can go now: then call it again with the same.
    virtual base::Result<std::optional<size_t>> sendSome(std::span<const iovec> parts);
    /// How many bytes came, 0 at the connection's end; nothing when none are there now.
    virtual base::Result<std::optional<size_t>> receiveSome(std::span<std::byte> into);

private:
    base::UniqueFd fd_;
};

/// Makes whoever waits for one of a group of sockets give up, in any thread, for good.
class Interrupt
{
public:
    Interrupt();
    void trip() const;
    int fd() const { return event_.get(); }

private:
    base::UniqueFd event_;
};

/// Milliseconds until `deadline`, as poll() wants them.
int leftUntil(Clock::time_point deadline);
/// Whether `fd` is ready before the deadline.
base::Result<bool> waitUntil(int fd, short events, Clock::time_point deadline);

base::Result<void> sendAll(Socket &socket, std::span<const std::byte> data, Clock::time_point deadline);
/// False at the connection's end, before all bytes have come.
base::Result<bool> receiveAll(Socket &socket, std::span<std::byte> into, Clock::time_point deadline);

/// A dead peer shows within half a minute, even when nothing is sent.
void keepAlive(int fd);

} // namespace godwit::channel
