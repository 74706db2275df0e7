// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// The helper's end of the control connection.
//
// Two threads: the main thread runs the operation; the session's own reads the driver's
// messages, sends Progress four times a second, and ends the process on Abort or when the
// connection closes (unless a guest runs that needs its pages from us). Ending is how an abort
// takes effect at once, whatever system call the main thread is in: the process holds nothing but
// fds and a shared mapping.

#include "base/unique_fd.h"
#include "channel/socket.h"
#include "control/connection.h"
#include "engine/meter.h"
#include "engine/save.h"

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

namespace godwit::helper {

/// Final figures as the driver gets them.
control::Done toDone(const engine::Statistics &statistics);

class Session
{
public:
    explicit Session(base::UniqueFd control);
    Session(const Session &) = delete;
    Session &operator=(const Session &) = delete;
    ~Session();

    /// Say Hello and wait for an order.
    base::Result<control::Received> begin();
    /// From here the session's thread reads; `meter` outlives the session.
    void start(const engine::Meter &meter);
    /// The last message, Done or Failed: nothing is sent after it.
    void finish(const control::Message &last);

    void send(const control::Message &message);
    /// Dropped when the driver does not keep up.
    void sendProgress(const engine::Meter &meter);

    engine::Limits limits() const;
    void setLimits(uint64_t bandwidth, uint32_t downtimeMs);
    /// Whom to tell when we are aborted: the source of the stream (borrowed), or null.
    void setPeer(channel::Socket *peer) { peer_ = peer; }

    void waitSuspended();
    control::StateLoaded waitStateLoaded();
    /// From now on the connection's end does not end us, and `retry` is called on Retry, on the
    /// session's thread; empty: as before.
    void outliveDriver(std::function<void()> retry);
    /// Readable once StateLoaded is there.
    int stateLoadedFd() const { return stateLoadedEvent_.get(); }

private:
    void run(const engine::Meter &meter);
    void handle(const control::Message &message);
    bool finished();
    bool outlives();
    [[noreturn]] void die(base::ErrorCode code, const char *reason);

    base::UniqueFd control_;
    base::UniqueFd stop_;               // eventfd: the thread shall end
    base::UniqueFd stateLoadedEvent_;   // eventfd
    std::thread thread_;
    std::atomic<uint64_t> bandwidth_{0};
    std::atomic<uint32_t> downtimeMs_{300};
    std::atomic<channel::Socket *> peer_{nullptr};

    std::mutex mutex_;                  // for what follows
    std::condition_variable arrived_;
    bool suspended_ = false;
    std::optional<control::StateLoaded> stateLoaded_;
    std::function<void()> retry_;

    std::mutex sending_;
    bool finished_ = false;             // under sending_
};

} // namespace godwit::helper
