// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/unique_fd.h"

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include <glib.h>

namespace godwit::hypervisor::machine {

/// The Host's event thread, as the machine hypervisor uses it. Other threads hand it work
/// through our own mutex and eventfd, never through GLib (whose locks ThreadSanitizer
/// cannot see).
class EventLoop : public std::enable_shared_from_this<EventLoop>
{
public:
    /// `context` is run by one other thread for as long as the loop is open.
    static std::shared_ptr<EventLoop> open(GMainContext *context);
    ~EventLoop();
    EventLoop(const EventLoop &) = delete;
    EventLoop &operator=(const EventLoop &) = delete;

    /// Run `task` on the event thread, after everything posted before. Dropped once closed.
    void post(std::function<void()> task);
    /// Run what was posted, then nothing any more. Blocks; not from the event thread.
    void close();
    /// Whether the caller is the event thread.
    bool inside() const { return g_main_context_is_owner(context_); }
    GMainContext *context() const { return context_; }

private:
    explicit EventLoop(GMainContext *context);
    static gboolean wake(gint fd, GIOCondition condition, gpointer opaque);
    void runPosted();

    GMainContext *context_;
    base::UniqueFd wakeup_;
    std::mutex mutex_;
    bool closed_ = false;
    std::vector<std::function<void()>> posted_;
    GSource *source_ = nullptr;
};

/// Something the event thread waits for; the callback runs there. Made on that thread
/// only. Destroying it (anywhere) ends the wait; a callback under way still finishes.
class Watch
{
public:
    Watch() = default;
    Watch(Watch &&other) noexcept = default;
    Watch &operator=(Watch &&other) noexcept;
    ~Watch() { reset(); }

    static Watch onFd(EventLoop &loop, int fd, GIOCondition condition, std::function<void(GIOCondition)> callback);
    static Watch after(EventLoop &loop, std::chrono::milliseconds delay, std::function<void()> callback);

    void reset();
    explicit operator bool() const { return source_ != nullptr; }

private:
    Watch(EventLoop &loop, GSource *source);

    std::shared_ptr<EventLoop> loop_;
    std::shared_ptr<GSource> source_;
};

} // namespace godwit::hypervisor::machine
