// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/xen/transfer.h"

#include "base/i18n.h"
#include "base/strprintf.h"

#include <algorithm>
#include <cstdio>
#include <sys/eventfd.h>
#include <unistd.h>

namespace godwit::hypervisor::xen {

using base::Error;
using base::ErrorCode;
using base::makeError;
using base::strprintf;
using base::tr;
using std::chrono::duration_cast;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

static constexpr uint64_t pageSize = 4096;

XenGuest::Transfer::Transfer(Direction way, std::unique_ptr<Operation> op)
    : direction(way), operation(std::move(op)), wakeup(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))
{
    operation->context().onProgress(
        [this](const char *what, unsigned long done, unsigned long total) { progress(what, done, total); });
}

void XenGuest::Transfer::abort(const std::string &reason)
{
    {
        std::lock_guard lock(aborting_);
        if (aborted_)
            return;
        aborted_ = true;
        reason_ = reason;
    }
    if (const auto between = relay())
        between->abort(reason);
    const uint64_t one = 1;
    (void)!::write(wakeup.get(), &one, sizeof one);
    operation->abort();
}

void XenGuest::Transfer::setRelay(std::shared_ptr<RelayProcess> relay)
{
    std::lock_guard lock(aborting_);
    relay_ = std::move(relay);
    if (aborted_)
        relay_->abort(reason_);
}

std::shared_ptr<RelayProcess> XenGuest::Transfer::relay()
{
    std::lock_guard lock(aborting_);
    return relay_;
}

bool XenGuest::Transfer::aborted()
{
    std::lock_guard lock(aborting_);
    return aborted_;
}

Error XenGuest::Transfer::abortion()
{
    std::lock_guard lock(aborting_);
    if (reason_.empty())
        return makeError(ErrorCode::Aborted, "%s", tr("the operation was aborted"));
    return makeError(ErrorCode::OperationFailed, "%s", reason_.c_str());
}

void XenGuest::Transfer::observe(TransferObserver *observer)
{
    std::lock_guard lock(mutex_);
    observer_ = observer;
}

void XenGuest::Transfer::stopped()
{
    std::lock_guard lock(mutex_);
    if (!stoppedAt_)
        stoppedAt_ = steady_clock::now();
}

/// Its words: "Frames" (a guest that stands still), "Frames iteration N".
static uint64_t iterationOf(const char *what)
{
    unsigned long iteration = 0;
    return std::sscanf(what, "Frames iteration %lu", &iteration) == 1 ? iteration + 1 : 1;
}

void XenGuest::Transfer::progress(const char *what, unsigned long done, unsigned long total)
{
    if (strncmp(what, "Frames", strlen("Frames")) != 0)
        return;
    std::string failure;
    {
        // The observer is told under the lock: once observe(nullptr) has returned, it is told nothing.
        std::lock_guard lock(mutex_);
        const auto elapsed = duration_cast<milliseconds>(steady_clock::now() - begun_);
        const uint64_t iteration = iterationOf(what);
        if (iteration != progress_.iteration) {
            sentBefore_ = progress_.normalPages;
            progress_.iteration = iteration;
        }
        if (progress_.setup == 0)
            progress_.setup = static_cast<uint64_t>(elapsed.count());
        progress_.elapsed = static_cast<uint64_t>(elapsed.count());
        progress_.memoryTotal = std::max(progress_.memoryTotal, total * pageSize);
        progress_.normalPages = sentBefore_ + done;
        progress_.memoryProcessed = progress_.bytesSent = progress_.normalPages * pageSize;
        progress_.memoryRemaining = (total - std::min(done, total)) * pageSize;
        progress_.bandwidth = progress_.elapsed ? progress_.bytesSent * 1000 / progress_.elapsed : 0;
        progress_.tracker = "xen";
        if (observer_)
            observer_->transferProgress(progress_);
        if (!stoppedAt_ && maxRounds && iteration > maxRounds)
            failure = strprintf(tr("the guest is still too busy after %u rounds"), maxRounds);
        else if (!stoppedAt_ && maxTime.count() > 0 && elapsed > maxTime)
            failure = strprintf(tr("the guest's memory was not sent within %lld seconds"),
                                static_cast<long long>(maxTime.count()));
    }
    if (!failure.empty() && giveUp)
        giveUp(failure);
}

TransferProgress XenGuest::Transfer::figures()
{
    std::lock_guard lock(mutex_);
    const auto now = steady_clock::now();
    progress_.elapsed = static_cast<uint64_t>(duration_cast<milliseconds>(now - begun_).count());
    if (stoppedAt_)
        progress_.downtime = static_cast<uint64_t>(duration_cast<milliseconds>(now - *stoppedAt_).count());
    progress_.memoryRemaining = 0;
    return progress_;
}

} // namespace godwit::hypervisor::xen
