// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/xen/events.h"

#include "base/i18n.h"
#include "base/log.h"

#include <array>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/time.h>
#include <unistd.h>
#include <vector>

namespace godwit::hypervisor::xen {

using base::Result;
using base::systemError;
using base::tr;
using base::UniqueFd;

Watcher::Watcher(std::unique_ptr<Context> context, UniqueFd wakeup)
    : context_(std::move(context)), wakeup_(std::move(wakeup)), thread_([this] { run(); })
{
}

Result<std::unique_ptr<Watcher>> Watcher::start()
{
    UniqueFd wakeup(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!wakeup)
        return systemError(errno, "eventfd");
    return std::unique_ptr<Watcher>(new Watcher(TRY(Context::open()), std::move(wakeup)));
}

Watcher::~Watcher()
{
    {
        std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    wake();
    thread_.join();
    for (auto &[domid, entry] : entries_)
        libxl_evdisable_domain_death(*context_, entry.generator);
}

/// Have the thread look again at what it has to wait for.
void Watcher::wake()
{
    const uint64_t one = 1;
    (void)!::write(wakeup_.get(), &one, sizeof one);
}

Result<void> Watcher::watch(uint32_t domid, std::weak_ptr<DomainWatch> watch)
{
    forget(domid);
    {
        std::lock_guard lock(mutex_);
        entries_[domid].watch = std::move(watch);
    }
    libxl_evgen_domain_death *generator = nullptr;
    if (int failed = libxl_evenable_domain_death(*context_, domid, 0, &generator)) {
        std::lock_guard lock(mutex_);
        entries_.erase(domid);
        return context_->failure(failed, tr("cannot follow the domain's events"));
    }
    {
        std::lock_guard lock(mutex_);
        entries_[domid].generator = generator;
    }
    // libxl may wait for a descriptor more by now, which the thread's poll() does not know of.
    wake();
    return {};
}

void Watcher::forget(uint32_t domid)
{
    libxl_evgen_domain_death *generator = nullptr;
    {
        std::lock_guard lock(mutex_);
        const auto known = entries_.find(domid);
        if (known == entries_.end())
            return;
        generator = known->second.generator;
        entries_.erase(known);
    }
    if (generator)
        libxl_evdisable_domain_death(*context_, generator);
}

void Watcher::dispatch(const libxl_event &event)
{
    std::shared_ptr<DomainWatch> watch;
    {
        std::lock_guard lock(mutex_);
        if (const auto known = entries_.find(event.domid); known != entries_.end())
            watch = known->second.watch.lock();
    }
    if (!watch)
        return;
    if (event.type == LIBXL_EVENT_TYPE_DOMAIN_SHUTDOWN)
        watch->domainShutDown(static_cast<libxl_shutdown_reason>(event.u.domain_shutdown.shutdown_reason));
    else if (event.type == LIBXL_EVENT_TYPE_DOMAIN_DEATH)
        watch->domainGone();
}

void Watcher::run()
{
    pthread_setname_np(pthread_self(), "godwit-xen");
    while (pollOnce()) {
        libxl_event *event = nullptr;
        while (libxl_event_check(*context_, &event, LIBXL_EVENTMASK_ALL, nullptr, nullptr) == 0) {
            dispatch(*event);
            libxl_event_free(*context_, event);
        }
    }
}

/// One round of libxl's event loop. False: it is time to end.
bool Watcher::pollOnce()
{
    std::vector<pollfd> fds(16);
    int count = 0;
    int timeout = 0;
    timeval now{};
    for (;;) {
        count = static_cast<int>(fds.size()) - 1;   // one is ours
        timeout = -1;
        gettimeofday(&now, nullptr);
        const int result = libxl_osevent_beforepoll(*context_, &count, fds.data() + 1, &timeout, now);
        if (result == 0)
            break;
        if (result != ERROR_BUFFERFULL) {
            log(base::LogLevel::Error, "libxl's event loop fails (%d)", result);
            return false;
        }
        fds.resize(static_cast<size_t>(count) + 1);
    }
    fds[0] = {wakeup_.get(), POLLIN, 0};
    if (::poll(fds.data(), static_cast<nfds_t>(count) + 1, timeout) < 0) {
        if (errno != EINTR)
            log(base::LogLevel::Error, "%s", systemError(errno, "poll").message.c_str());
        for (pollfd &fd : fds)
            fd.revents = 0;
    }
    uint64_t woken = 0;
    (void)!::read(wakeup_.get(), &woken, sizeof woken);
    gettimeofday(&now, nullptr);
    libxl_osevent_afterpoll(*context_, count, fds.data() + 1, now);
    std::lock_guard lock(mutex_);
    return !stopping_;
}

} // namespace godwit::hypervisor::xen
