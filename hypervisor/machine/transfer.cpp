// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/machine/transfer.h"

#include "base/i18n.h"
#include "base/log.h"
#include "base/strprintf.h"
#include "hypervisor/machine/guest.h"

namespace godwit::hypervisor::machine {

using base::Error;
using base::ErrorCode;
using base::makeError;
using base::Result;
using base::tr;

/// How long the other side may take for what should be immediate.
static constexpr std::chrono::seconds patience{10};
/// QEMU has stopped its guest, and waits for migrate-continue.
static constexpr const char *atSwitchover = "pre-switchover";

Transfer::Transfer(Direction direction, std::shared_ptr<HelperProcess> helper, std::shared_ptr<EventLoop> loop)
    : direction_(direction), helper_(std::move(helper)), loop_(std::move(loop))
{
}

Transfer::~Transfer() = default;

void Transfer::start(std::weak_ptr<MachineGuest> guest)
{
    loop_->post([self = shared_from_this(), weak = guest] {
        self->guest_ = weak;
        // A guest that ended before it knew of this transfer told nobody.
        const auto moved = weak.lock();
        if (const auto end = moved ? moved->end() : std::nullopt)
            self->guestGone(*end);
    });
    HelperListener listener;
    listener.message = [weak = weak_from_this()](const control::Message &message) {
        if (auto self = weak.lock())
            self->onMessage(message);
    };
    listener.lost = [weak = weak_from_this()](const Error &why) {
        if (auto self = weak.lock())
            self->finish(self->aborted_ ? self->aborted() : why);
    };
    helper_->listen(std::move(listener));
}

Result<TransferProgress> Transfer::wait(TransferObserver *observer)
{
    std::optional<Result<TransferProgress>> outcome;
    {
        std::unique_lock lock(mutex_);
        observer_ = observer;
        ended_.wait(lock, [&] { return outcome_.has_value(); });
        observer_ = nullptr;
        outcome = outcome_;
        if (serving_)
            return std::move(*outcome);
    }
    if (!*outcome)
        helper_->kill();
    return std::move(*outcome);
}

std::chrono::duration<double, std::milli> Transfer::sinceEnd()
{
    std::lock_guard lock(mutex_);
    return std::chrono::steady_clock::now() - endedAt_;
}

void Transfer::collect()
{
    bool succeeded = false;
    {
        std::lock_guard lock(mutex_);
        if (serving_)
            return;
        succeeded = outcome_ && *outcome_;
    }
    // Of what failed nothing is left. Where all went well a guest may stand still until we go on.
    if (succeeded)
        helper_->endAside();
    else
        helper_->end();
}

bool Transfer::stateBegun()
{
    std::lock_guard lock(mutex_);
    return stateBegun_;
}

// ---- the helper ------------------------------------------------------------------------

void Transfer::onMessage(const control::Message &message)
{
    if (state_ == State::Ended)
        return;
    if (const auto *progress = std::get_if<control::Progress>(&message))
        return onProgress(*progress);
    if (const auto *failed = std::get_if<control::Failed>(&message)) {
        Error error;
        error.code = failed->code;
        error.message = failed->message;
        error.errnum = static_cast<int>(failed->errnum);
        return finish(std::move(error));
    }
    if (const auto *done = std::get_if<control::Done>(&message))
        return onDone(*done);
    if (const auto *serving = std::get_if<control::Serving>(&message); serving && state_ == State::Finishing)
        return onServing(*serving);
    const bool save = direction_ == Direction::Save;
    if (std::holds_alternative<control::SuspendRequest>(message) && save && state_ == State::Memory)
        return suspend();
    if (std::holds_alternative<control::LoadState>(message) && !save && state_ == State::Memory)
        return loadState();
    finish(makeError(ErrorCode::Internal, "the transfer helper sent an unexpected message"));
}

TransferProgress translate(const control::Progress &from)
{
    TransferProgress to;
    to.elapsed = from.elapsedMs;
    to.memoryTotal = from.memoryTotal;
    to.memoryProcessed = from.memoryProcessed;
    to.memoryRemaining = from.memoryRemaining;
    to.bytesSent = from.streamBytes;
    to.normalPages = from.normalPages;
    to.constantPages = from.constantPages;
    to.bandwidth = from.bandwidth;
    to.dirtyPagesPerSecond = from.dirtyPagesPerSecond;
    to.iteration = from.iteration;
    to.expectedDowntime = from.expectedDowntimeMs;
    to.tracker = from.tracker;
    to.connections = from.connections;
    return to;
}

void Transfer::onProgress(const control::Progress &progress)
{
    using namespace std::chrono;
    // The observer is told under the lock: once wait() has returned, it is told nothing.
    std::lock_guard lock(mutex_);
    progress_ = translate(progress);
    if (stopped_)
        progress_.downtime = static_cast<uint64_t>(duration_cast<milliseconds>(steady_clock::now() - stoppedAt_).count());
    if (observer_)
        observer_->transferProgress(progress_);
}

void Transfer::onDone(const control::Done &done)
{
    onProgress(done.progress);
    {
        std::lock_guard lock(mutex_);
        progress_.setup = done.setupMs;
    }
    helperDone_ = true;
    // A helper that is done before QEMU wrote or read anything has not done its work.
    if (state_ != State::Draining && state_ != State::Finishing)
        return finish(makeError(ErrorCode::Internal, "the transfer helper ended before the guest's devices were moved"));
    tryComplete();
    if (state_ == State::Ended)
        return;
    patience_ = Watch::after(*loop_, patience, [weak = weak_from_this()] {
        if (auto self = weak.lock())
            self->finish(makeError(ErrorCode::TimedOut, "%s", tr("the emulator did not finish writing its device state")));
    });
}

void Transfer::onServing(const control::Serving &serving)
{
    auto guest = guest_.lock();
    if (!guest)
        return finish(makeError(ErrorCode::OperationFailed, "%s", tr("the guest is gone")));
    onProgress(serving.progress);
    guest->serveBy(helper_);
    {
        std::lock_guard lock(mutex_);
        serving_ = true;
    }
    helperDone_ = true;
    tryComplete();
}

/// The helper takes the pipe's end for the state's end: only QEMU knows whether it wrote
/// all of it.
void Transfer::tryComplete()
{
    if (!helperDone_ || !migrationDone_)
        return;
    TransferProgress progress;
    {
        std::lock_guard lock(mutex_);
        progress = progress_;
    }
    finish(std::move(progress));
}

void Transfer::finish(Result<TransferProgress> outcome)
{
    if (state_ == State::Ended)
        return;
    state_ = State::Ended;
    patience_.reset();
    timeLimit_.reset();
    std::lock_guard lock(mutex_);
    outcome_ = std::move(outcome);
    endedAt_ = std::chrono::steady_clock::now();
    ended_.notify_all();
}

// ---- the guest -------------------------------------------------------------------------

/// An order whose failure ends a save.
void Transfer::tellEmulator(const char *command, Json arguments)
{
    auto guest = guest_.lock();
    if (!guest)
        return finish(makeError(ErrorCode::OperationFailed, "%s", tr("the guest is gone")));
    guest->qmp().submit(command, std::move(arguments), [weak = weak_from_this()](Result<Json> result) {
        auto self = weak.lock();
        if (self && !result)
            self->finish(result.error());
    });
}

void Transfer::suspend()
{
    state_ = State::Stopping;
    {
        std::lock_guard lock(mutex_);
        stateBegun_ = true;
    }
    tellEmulator("migrate", Json::object({{"uri", pipeUri}}));
}

/// The guest stands still: the helper reads its last pages while QEMU writes its state.
void Transfer::writeState()
{
    state_ = State::Draining;
    stoppedAt_ = std::chrono::steady_clock::now();
    stopped_ = true;
    tellEmulator("migrate-continue", Json::object({{"state", atSwitchover}}));
    helper_->send(control::Suspended{});
}

void Transfer::loadState()
{
    auto guest = guest_.lock();
    if (!guest)
        return finish(makeError(ErrorCode::OperationFailed, "%s", tr("the guest is gone")));
    state_ = State::Loading;
    guest->qmp().submit("migrate-incoming", Json::object({{"uri", pipeUri}}),
                        [weak = weak_from_this()](Result<Json> result) {
                            auto self = weak.lock();
                            if (!self || result || self->state_ != State::Loading)
                                return;
                            self->helper_->send(control::StateLoaded{false, result.error().message});
                            self->finish(result.error());
                        });
}

void Transfer::migrationChanged(const std::string &status)
{
    if (state_ == State::Ended)
        return;
    if (status == "failed" || status == "cancelled")
        return migrationFailed();
    if (status == atSwitchover && state_ == State::Stopping)
        return writeState();
    if (status != "completed")
        return;
    migrationDone_ = true;
    if (state_ == State::Loading) {
        state_ = State::Finishing;
        stateLoaded_ = true;
        helper_->send(control::StateLoaded{true, {}});
    }
    tryComplete();
}

void Transfer::migrationFailed()
{
    if (direction_ == Direction::Save)
        return askWhy();
    // QEMU says why on its standard error, and ends: guestGone() brings it.
    patience_ = Watch::after(*loop_, patience, [weak = weak_from_this()] {
        if (auto self = weak.lock())
            self->guestGone(makeError(ErrorCode::OperationFailed, "%s", tr("the emulator could not load its device state")));
    });
}

void Transfer::askWhy()
{
    auto guest = guest_.lock();
    if (!guest)
        return finish(makeError(ErrorCode::OperationFailed, "%s", tr("the guest is gone")));
    guest->qmp().submit("query-migrate", {}, [weak = weak_from_this()](Result<Json> result) {
        auto self = weak.lock();
        if (!self)
            return;
        std::string reason;
        if (result)
            reason = (*result)["error-desc"].string().value_or("");
        self->finish(makeError(ErrorCode::OperationFailed, tr("the emulator could not save its device state: %s"),
                               reason.empty() ? tr("no reason given") : reason.c_str()));
    });
}

void Transfer::guestGone(const Error &why)
{
    if (state_ == State::Ended)
        return;
    // A source that sends, or waits for the outcome, hears the cause.
    if (state_ == State::Loading)
        helper_->send(control::StateLoaded{false, why.message});
    else if (direction_ == Direction::Receive)
        helper_->send(control::Abort{why.message});
    finish(why);
}

// ---- from other threads ------------------------------------------------------------------

void Transfer::abort(const std::string &failure)
{
    loop_->post([self = shared_from_this(), failure] {
        if (self->state_ == State::Ended || self->aborted_)
            return;
        self->aborted_ = true;
        self->abortCause_ = failure;
        self->helper_->send(control::Abort{failure});
        self->patience_ = Watch::after(*self->loop_, std::chrono::seconds(3), [weak = self->weak_from_this()] {
            if (auto transfer = weak.lock())
                transfer->finish(transfer->aborted());
        });
    });
}

Error Transfer::aborted() const
{
    if (abortCause_.empty())
        return makeError(ErrorCode::Aborted, "%s", tr("the operation was aborted"));
    return makeError(ErrorCode::OperationFailed, "%s", abortCause_.c_str());
}

void Transfer::giveUpAfter(std::chrono::seconds time)
{
    loop_->post([self = shared_from_this(), time] {
        self->timeLimit_ = Watch::after(*self->loop_, time, [weak = self->weak_from_this(), time] {
            auto transfer = weak.lock();
            if (transfer && transfer->state_ == State::Memory)
                transfer->abort(base::strprintf(tr("the guest's memory was not sent within %lld seconds"),
                                                static_cast<long long>(time.count())));
        });
    });
}

void Transfer::setLimits(const TransferLimits &limits)
{
    loop_->post([self = shared_from_this(), limits] {
        if (self->state_ == State::Ended)
            return;
        self->helper_->send(control::SetLimits{limits.bandwidth, static_cast<uint32_t>(limits.downtime.count())});
    });
}

} // namespace godwit::hypervisor::machine
