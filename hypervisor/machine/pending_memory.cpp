// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/machine/pending_memory.h"

#include "base/i18n.h"
#include "base/log.h"
#include "base/strprintf.h"
#include "hypervisor/machine/aside.h"
#include "hypervisor/machine/guest.h"
#include "hypervisor/machine/transfer.h"

#include <fcntl.h>
#include <sys/stat.h>

namespace godwit::hypervisor::machine {

using base::Error;
using base::ErrorCode;
using base::LogLevel;
using base::makeError;
using base::Result;
using base::strprintf;
using base::systemError;
using base::tr;

/// For a helper that is asked to try again, and for what it reads.
static constexpr std::chrono::seconds readingPatience{30};

std::string PageSupply::imagePath() const
{
    char path[PATH_MAX];
    const ssize_t length = ::readlink(strprintf("/proc/self/fd/%d", image.get()).c_str(), path, sizeof path);
    return length < 0 ? "" : std::string(path, static_cast<size_t>(length));
}

Result<void> PageSupply::accept()
{
    struct stat status{};
    if (::fstat(image.get(), &status) < 0)
        return systemError(errno, "%s", tr("cannot look at the image"));
    source.size = static_cast<uint64_t>(status.st_size);
    source.modifiedNs = static_cast<uint64_t>(status.st_mtim.tv_sec) * 1000000000 +
                        static_cast<uint64_t>(status.st_mtim.tv_nsec);
    return {};
}

PendingMemory::PendingMemory(std::shared_ptr<EventLoop> loop, std::string helperProgram, PageSupply supply)
    : loop_(std::move(loop)), helperProgram_(std::move(helperProgram)), supply_(std::move(supply))
{
}

PendingMemory::~PendingMemory()
{
    if (helper_ && !guestGone_ && (state_ == State::Serving || state_ == State::Stalled))
        helper_->leave();
    // To collect a helper takes until it has ended, and to close an image that was removed until it is freed.
    dropAside(std::pair(std::move(helper_), std::move(supply_)));
}

// ---- what the helper says: the event thread ----------------------------------------------------

HelperListener PendingMemory::listener()
{
    HelperListener listener;
    listener.message = [weak = weak_from_this()](const control::Message &message) {
        if (auto self = weak.lock())
            self->onMessage(message);
    };
    listener.lost = [weak = weak_from_this()](const Error &why) {
        if (auto self = weak.lock())
            self->change(State::Lost, why);
    };
    return listener;
}

void PendingMemory::follow(std::shared_ptr<HelperProcess> helper)
{
    helper->listenNow(listener());
    std::lock_guard lock(mutex_);
    helper_ = std::move(helper);
}

void PendingMemory::onMessage(const control::Message &message)
{
    const auto error = [](const auto &from) {
        Error out;
        out.code = from.code;
        out.message = from.message;
        out.errnum = static_cast<int>(from.errnum);
        return out;
    };
    if (const auto *progress = std::get_if<control::Progress>(&message))
        return onProgress(*progress);
    if (std::holds_alternative<control::Serving>(message))
        return change(State::Serving, {});
    if (std::holds_alternative<control::Done>(message))
        return change(State::Complete, {});
    if (const auto *stalled = std::get_if<control::Stalled>(&message))
        return change(State::Stalled, error(*stalled));
    if (const auto *failed = std::get_if<control::Failed>(&message))
        return change(State::Lost, error(*failed));
    log(LogLevel::Error, "the helper that brings a guest's pages sent an unexpected message");
}

void PendingMemory::onProgress(const control::Progress &progress)
{
    // The observer is told under the lock: once wait() has returned, it is told nothing.
    std::lock_guard lock(mutex_);
    if (observer_)
        observer_->transferProgress(translate(progress));
}

void PendingMemory::change(State state, Error why)
{
    bool tell = false;
    {
        std::lock_guard lock(mutex_);
        // Who asked is told by the call.
        tell = !guestGone_ && !std::exchange(asking_, false) && state != state_;
        tell = tell || state == State::Complete;
        state_ = state;
        why_ = std::move(why);
    }
    changed_.notify_all();
    const auto guest = guest_.lock();
    if (!guest || !tell)
        return;
    if (state == State::Complete)
        guest->memoryComplete();
    else if (state != State::Serving)
        guest->memoryStalled();
}

void PendingMemory::guestGone()
{
    {
        std::lock_guard lock(mutex_);
        guestGone_ = true;
        if (helper_)
            helper_->kill();   // it may be in the middle of a slow read
        if (state_ != State::Complete) {
            state_ = State::Lost;
            why_ = makeError(ErrorCode::OperationFailed, "%s", tr("the guest is gone"));
        }
    }
    changed_.notify_all();
}

// ---- from other threads ---------------------------------------------------------------------

std::shared_ptr<PendingMemory> PendingMemory::lost(std::shared_ptr<EventLoop> loop, std::string helperProgram,
                                                   PendingStatus status)
{
    auto out = std::make_shared<PendingMemory>(std::move(loop), std::move(helperProgram), PageSupply());
    out->adopted_ = std::move(status);
    out->state_ = State::Lost;
    out->why_ = makeError(ErrorCode::OperationFailed, "%s", tr("nobody brings the guest's pages"));
    return out;
}

Result<void> PendingMemory::startHelper(int ramFd)
{
    if (adopted_)
        supply_ = TRY(adopted_->supply());
    adopted_.reset();
    TRY(supply_.accept());
    const int fds[] = {ramFd, supply_.image.get(), supply_.faults.get()};
    helper_ = TRY(HelperProcess::start(loop_, helperProgram_, control::ServePages{supply_.source}, fds));
    helper_->listen(listener());
    return {};
}

Result<void> PendingMemory::goOn(int ramFd)
{
    std::unique_lock lock(mutex_);
    if (state_ == State::Serving || state_ == State::Complete)
        return {};
    asking_ = true;
    if (state_ == State::Lost) {
        if (auto started = startHelper(ramFd); !started) {
            asking_ = false;
            why_ = started.error();
            return started;
        }
    } else {
        loop_->post([helper = helper_] { helper->send(control::Retry{}); });
    }
    if (!changed_.wait_for(lock, readingPatience, [&] { return !asking_; }))
        return makeError(ErrorCode::TimedOut, "%s", tr("the guest's image cannot be read in time"));
    if (state_ == State::Serving || state_ == State::Complete)
        return {};
    return why_;
}

Result<void> PendingMemory::wait(TransferObserver *observer)
{
    std::unique_lock lock(mutex_);
    observer_ = observer;
    waiting_ = true;
    aborted_.reset();
    changed_.wait(lock, [&] { return aborted_ || state_ != State::Serving; });
    observer_ = nullptr;
    waiting_ = false;
    if (aborted_)
        return *aborted_;
    if (state_ != State::Complete)
        return why_.in(tr("the guest's memory is not complete"));
    return {};
}

bool PendingMemory::abort(const std::string &failure)
{
    std::lock_guard lock(mutex_);
    if (!waiting_)
        return false;
    aborted_ = failure.empty() ? makeError(ErrorCode::Aborted, "%s", tr("the operation was aborted"))
                               : makeError(ErrorCode::OperationFailed, "%s", failure.c_str());
    changed_.notify_all();
    return true;
}

bool PendingMemory::complete()
{
    std::lock_guard lock(mutex_);
    return state_ == State::Complete;
}

std::optional<Error> PendingMemory::trouble()
{
    std::lock_guard lock(mutex_);
    if (state_ == State::Stalled || state_ == State::Lost)
        return why_;
    return std::nullopt;
}

std::string PendingMemory::imagePath()
{
    std::lock_guard lock(mutex_);
    return adopted_ ? adopted_->image : supply_.imagePath();
}

PendingStatus PendingMemory::status() const
{
    if (adopted_)
        return *adopted_;
    PendingStatus out;
    if (helper_) {
        out.helper = helper_->process().pid();
        out.helperStart = helper_->process().startTime();
    }
    struct stat image{};
    if (::fstat(supply_.image.get(), &image) == 0) {
        out.device = image.st_dev;
        out.inode = image.st_ino;
    }
    out.faultsInGuest = supply_.faultsInGuest;
    out.image = supply_.imagePath();
    out.source = supply_.source;
    return out;
}

void PendingMemory::formatStatus(virBuffer *out)
{
    std::lock_guard lock(mutex_);
    if (state_ != State::Complete)
        status().format(out);
}

} // namespace godwit::hypervisor::machine
