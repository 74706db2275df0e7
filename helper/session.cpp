// SPDX-License-Identifier: LGPL-2.1-or-later
#include "helper/session.h"

#include "base/i18n.h"
#include "base/log.h"
#include "channel/connection.h"
#include "control/codec.h"

#include <array>
#include <cerrno>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace godwit::helper {

using namespace base;
using control::Received;

static constexpr int progressIntervalMs = 250;
static constexpr int exitFailed = 1;

static control::Progress toMessage(const engine::Statistics &statistics)
{
    static_assert(static_cast<uint32_t>(control::Phase::Setup) == static_cast<uint32_t>(engine::Phase::Setup) + 1);
    static_assert(static_cast<uint32_t>(control::Phase::Last) == static_cast<uint32_t>(engine::Phase::Finishing) + 1);
    control::Progress out;
    out.phase = static_cast<control::Phase>(static_cast<uint32_t>(statistics.phase) + 1);
    out.elapsedMs = static_cast<uint64_t>(statistics.elapsed.count());
    out.memoryTotal = statistics.memoryTotal;
    out.memoryProcessed = statistics.memoryProcessed;
    out.memoryRemaining = statistics.memoryRemaining;
    out.streamBytes = statistics.streamBytes;
    out.normalPages = statistics.normalPages;
    out.constantPages = statistics.constantPages;
    out.bandwidth = statistics.bandwidth;
    out.dirtyPagesPerSecond = statistics.dirtyPagesPerSecond;
    out.iteration = statistics.iteration;
    out.expectedDowntimeMs = static_cast<uint64_t>(statistics.expectedDowntime.count());
    out.tracker = statistics.tracker;
    out.connections = statistics.connections;
    return out;
}

control::Done toDone(const engine::Statistics &statistics)
{
    control::Done out;
    out.progress = toMessage(statistics);
    out.deviceStateBytes = statistics.deviceStateBytes;
    out.setupMs = static_cast<uint64_t>(statistics.setup.count());
    out.suspendMs = static_cast<uint64_t>(statistics.suspending.count());
    out.stoppedMs = static_cast<uint64_t>(statistics.stopped.count());
    out.loadMs = static_cast<uint64_t>(statistics.loading.count());
    return out;
}

Session::Session(UniqueFd control)
    : control_(std::move(control)), stop_(::eventfd(0, EFD_CLOEXEC)), stateLoadedEvent_(::eventfd(0, EFD_CLOEXEC))
{
}

Session::~Session()
{
    if (!thread_.joinable())
        return;
    ::eventfd_write(stop_.get(), 1);
    thread_.join();
}

Result<Received> Session::begin()
{
    TRY(control::send(control_.get(), control::Hello{}));
    auto received = TRY(control::receive(control_.get()));
    if (received.state != Received::State::Arrived)
        return makeError(ErrorCode::Aborted, tr("the driver asked for nothing"));
    // Before others can come.
    if (const auto *save = std::get_if<control::Save>(&received.message))
        setLimits(save->bandwidth, save->downtimeMs);
    return received;
}

void Session::start(const engine::Meter &meter)
{
    thread_ = std::thread([this, &meter] { run(meter); });
}

void Session::run(const engine::Meter &meter)
{
    for (;;) {
        std::array<pollfd, 2> waiting{pollfd{control_.get(), POLLIN, 0}, pollfd{stop_.get(), POLLIN, 0}};
        const int ready = ::poll(waiting.data(), waiting.size(), progressIntervalMs);
        if (waiting[1].revents)
            return;
        if (ready == 0)
            sendProgress(meter);
        if (!waiting[0].revents)
            continue;
        auto received = control::receive(control_.get());
        if (finished())
            return;   // a driver that has its answer may close, or abort too late
        if (received && received->state == Received::State::Closed && outlives())
            return;
        if (!received)
            die(received.error().code, received.error().message.c_str());
        if (received->state == Received::State::Closed)
            die(ErrorCode::Aborted, tr("the driver is gone"));
        if (received->state == Received::State::Arrived)
            handle(received->message);
    }
}

void Session::handle(const control::Message &message)
{
    if (const auto *abort = std::get_if<control::Abort>(&message)) {
        if (abort->message.empty())
            die(ErrorCode::Aborted, tr("aborted"));
        die(ErrorCode::OperationFailed, abort->message.c_str());
    }
    if (const auto *limits = std::get_if<control::SetLimits>(&message))
        return setLimits(limits->bandwidth, limits->downtimeMs);
    const std::lock_guard lock(mutex_);
    if (std::holds_alternative<control::Retry>(message) && retry_)
        return retry_();
    if (std::holds_alternative<control::Suspended>(message)) {
        suspended_ = true;
    } else if (const auto *loaded = std::get_if<control::StateLoaded>(&message)) {
        stateLoaded_ = *loaded;
        ::eventfd_write(stateLoadedEvent_.get(), 1);
    } else {
        die(ErrorCode::Internal, tr("the driver sent a message out of order"));
    }
    arrived_.notify_all();
}

void Session::die(ErrorCode code, const char *reason)
{
    finish(control::Failed{code, 0, reason});
    if (channel::Socket *peer = peer_)
        channel::sendOutcomeAtOnce(*peer, reason);
    ::_exit(exitFailed);
}

void Session::send(const control::Message &message)
{
    const std::lock_guard lock(sending_);
    // A driver that is gone shows on the reading side, which ends the process.
    if (!finished_)
        (void)control::send(control_.get(), message).has_value();
}

void Session::sendProgress(const engine::Meter &meter)
{
    const auto message = toMessage(meter.snapshot());
    const std::lock_guard lock(sending_);
    if (!finished_)
        (void)control::send(control_.get(), message, {}, std::chrono::milliseconds(0)).has_value();
}

bool Session::finished()
{
    const std::lock_guard lock(sending_);
    return finished_;
}

void Session::finish(const control::Message &last)
{
    const std::lock_guard lock(sending_);
    if (finished_)
        return;
    finished_ = true;
    (void)control::send(control_.get(), last).has_value();
}

bool Session::outlives()
{
    const std::lock_guard lock(mutex_);
    return retry_ != nullptr;
}

void Session::outliveDriver(std::function<void()> retry)
{
    const std::lock_guard lock(mutex_);
    retry_ = std::move(retry);
}

engine::Limits Session::limits() const
{
    return {bandwidth_, std::chrono::milliseconds(downtimeMs_)};
}

void Session::setLimits(uint64_t bandwidth, uint32_t downtimeMs)
{
    bandwidth_ = bandwidth;
    downtimeMs_ = downtimeMs;
}

void Session::waitSuspended()
{
    std::unique_lock lock(mutex_);
    arrived_.wait(lock, [this] { return suspended_; });
}

control::StateLoaded Session::waitStateLoaded()
{
    std::unique_lock lock(mutex_);
    arrived_.wait(lock, [this] { return stateLoaded_.has_value(); });
    return *stateLoaded_;
}

} // namespace godwit::helper
