// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/machine/event_loop.h"

#include <cassert>
#include <condition_variable>
#include <glib-unix.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace godwit::hypervisor::machine {

EventLoop::EventLoop(GMainContext *context)
    : context_(g_main_context_ref(context)), wakeup_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))
{
}

std::shared_ptr<EventLoop> EventLoop::open(GMainContext *context)
{
    std::shared_ptr<EventLoop> loop(new EventLoop(context));
    loop->source_ = g_unix_fd_source_new(loop->wakeup_.get(), G_IO_IN);
    g_source_set_callback(loop->source_, G_SOURCE_FUNC(wake), loop.get(), nullptr);
    g_source_attach(loop->source_, context);
    return loop;
}

EventLoop::~EventLoop()
{
    if (source_) {
        g_source_destroy(source_);
        g_source_unref(source_);
    }
    g_main_context_unref(context_);
}

void EventLoop::post(std::function<void()> task)
{
    {
        std::lock_guard lock(mutex_);
        if (closed_)
            return;
        posted_.push_back(std::move(task));
    }
    const uint64_t one = 1;
    // Fails only when the counter is about to overflow: then the thread is awake anyway.
    (void)!::write(wakeup_.get(), &one, sizeof one);
}

gboolean EventLoop::wake(gint fd, GIOCondition, gpointer opaque)
{
    // The read comes first: it is what orders this thread behind the one that posted.
    uint64_t count = 0;
    (void)!::read(fd, &count, sizeof count);
    auto self = static_cast<EventLoop *>(opaque)->shared_from_this();
    self->runPosted();
    return G_SOURCE_CONTINUE;
}

void EventLoop::runPosted()
{
    std::vector<std::function<void()>> tasks;
    {
        std::lock_guard lock(mutex_);
        tasks.swap(posted_);
    }
    for (auto &task : tasks)
        task();
}

void EventLoop::close()
{
    assert(!inside());
    std::mutex mutex;
    std::condition_variable done;
    bool finished = false;
    post([&] {
        g_source_destroy(source_);
        std::lock_guard lock(mutex);
        finished = true;
        done.notify_all();
    });
    std::unique_lock lock(mutex);
    done.wait(lock, [&] { return finished; });
    std::lock_guard own(mutex_);
    closed_ = true;
    posted_.clear();
}

// ---- Watch --------------------------------------------------------------------------

namespace {

struct FdCallback {
    std::function<void(GIOCondition)> function;
};

struct TimerCallback {
    std::function<void()> function;
};

} // namespace

Watch::Watch(EventLoop &loop, GSource *source)
    : loop_(loop.shared_from_this()), source_(source, [](GSource *ended) {
          g_source_destroy(ended);
          g_source_unref(ended);
      })
{
}

Watch &Watch::operator=(Watch &&other) noexcept
{
    if (this != &other) {
        reset();
        loop_ = std::move(other.loop_);
        source_ = std::move(other.source_);
    }
    return *this;
}

Watch Watch::onFd(EventLoop &loop, int fd, GIOCondition condition, std::function<void(GIOCondition)> callback)
{
    assert(loop.inside());
    GSource *source = g_unix_fd_source_new(fd, condition);
    GUnixFDSourceFunc dispatch = [](gint, GIOCondition ready, gpointer opaque) -> gboolean {
        static_cast<FdCallback *>(opaque)->function(ready);
        return G_SOURCE_CONTINUE;
    };
    g_source_set_callback(source, G_SOURCE_FUNC(dispatch), new FdCallback{std::move(callback)},
                          [](gpointer opaque) { delete static_cast<FdCallback *>(opaque); });
    g_source_attach(source, loop.context());
    return Watch(loop, source);
}

Watch Watch::after(EventLoop &loop, std::chrono::milliseconds delay, std::function<void()> callback)
{
    assert(loop.inside());
    GSource *source = g_timeout_source_new(static_cast<guint>(delay.count()));
    GSourceFunc dispatch = [](gpointer opaque) -> gboolean {
        static_cast<TimerCallback *>(opaque)->function();
        return G_SOURCE_REMOVE;
    };
    g_source_set_callback(source, dispatch, new TimerCallback{std::move(callback)},
                          [](gpointer opaque) { delete static_cast<TimerCallback *>(opaque); });
    g_source_attach(source, loop.context());
    return Watch(loop, source);
}

void Watch::reset()
{
    if (!source_)
        return;
    // The callback belongs to the event thread and must go there, or its memory would be
    // freed under it. (When the loop is closed, no callback runs any more.)
    if (!loop_->inside())
        loop_->post([source = std::move(source_)] {});
    source_.reset();
    loop_.reset();
}

} // namespace godwit::hypervisor::machine
