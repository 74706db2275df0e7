// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/machine/guest.h"

#include "base/i18n.h"
#include "base/log.h"
#include "hypervisor/machine/memory_layout.h"
#include "hypervisor/machine/pending_memory.h"
#include "hypervisor/machine/transfer.h"

#include <fcntl.h>
#include <thread>

namespace godwit::hypervisor::machine {

using base::Error;
using base::ErrorCode;
using base::LogLevel;
using base::makeError;
using base::Result;
using base::systemError;
using base::tr;
using base::UniqueFd;

static control::StreamKind toControl(StreamKind kind)
{
    switch (kind) {
    case StreamKind::File: return control::StreamKind::File;
    case StreamKind::Channel: return control::StreamKind::Channel;
    case StreamKind::Listener: return control::StreamKind::Listener;
    case StreamKind::Plain: break;
    }
    return control::StreamKind::Plain;
}

static control::ImageIndex toControl(const std::optional<ImageIndex> &index)
{
    return index ? control::ImageIndex{index->firstBatch, index->headSize, index->batchPages} : control::ImageIndex{};
}

static control::Tls toControl(const std::optional<TlsSettings> &tls)
{
    return tls ? control::Tls{tls->directory, tls->verifyPeer, tls->peerName} : control::Tls{};
}

/// QEMU moves device state only (the RAM is a shared file), as fast as it can, says when it is done,
/// and waits for us once it has stopped its guest.
Result<void> MachineGuest::prepareMigration()
{
    const auto capability = [](const char *name) {
        return Json::object({{"capability", name}, {"state", true}});
    };
    TRY(call("migrate-set-capabilities",
             Json::object({{"capabilities", Json::array({capability("x-ignore-shared"), capability("events"),
                                                         capability("pause-before-switchover")})}})));
    constexpr int64_t bytesPerSecond = int64_t{1} << 40;
    constexpr int64_t downtimeMs = 2000000;
    TRY(call("migrate-set-parameters",
             Json::object({{"max-bandwidth", bytesPerSecond}, {"downtime-limit", downtimeMs}})));
    return {};
}

/// Make the device-state pipe, give one end to QEMU, return the other.
Result<UniqueFd> MachineGuest::handPipe(bool write)
{
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) < 0)
        return systemError(errno, "pipe");
    UniqueFd readEnd(ends[0]);
    UniqueFd writeEnd(ends[1]);
    // Room for all of the state: with 64 KiB QEMU and the helper wait for each other, some 10 ms in which
    // the guest stands still. As much as an ordinary user may have; with less it works, too.
    (void)::fcntl(writeEnd.get(), F_SETPIPE_SZ, 1 << 20);
    TRY(qmp_->call("getfd", Json::object({{"fdname", Transfer::pipeName}}), write ? writeEnd.get() : readEnd.get()));
    return write ? std::move(readEnd) : std::move(writeEnd);
}

// ---- save --------------------------------------------------------------------------------

Result<std::shared_ptr<Transfer>> MachineGuest::beginSaving(SaveRequest &request, bool running)
{
    TRY(prepareMigration());
    UniqueFd state = TRY(handPipe(/* write= */ true));
    control::Save order;
    order.guest = facts_.name;
    order.regions = memoryLayout(facts_.ramBytes);
    order.kind = toControl(request.kind);
    order.secret = request.secret;
    // Memory that stands still goes before the device state: the earlier a failure, the less
    // there is to undo (see save()).
    order.live = request.live || !running;
    order.guestPid = static_cast<uint32_t>(process_.pid());
    order.maxRounds = request.maxRounds;
    const TransferLimits limits = request.limits ? request.limits() : TransferLimits();
    order.bandwidth = limits.bandwidth;
    order.downtimeMs = static_cast<uint32_t>(limits.downtime.count());
    order.index = toControl(request.index);
    order.bypassCache = request.bypassCache;
    order.tls = toControl(request.tls);
    order.connections = static_cast<uint32_t>(request.furtherStreams.size() + 1);
    std::vector<int> fds{ram_.get(), request.stream.get(), state.get()};
    for (const UniqueFd &further : request.furtherStreams)
        fds.push_back(further.get());
    auto helper = HelperProcess::start(loop_, facts_.helper, std::move(order), fds);
    request.stream.reset();
    request.furtherStreams.clear();
    if (!helper) {
        (void)call("closefd", Json::object({{"fdname", Transfer::pipeName}})).has_value();
        return std::move(helper).error();
    }
    auto transfer = std::make_shared<Transfer>(Transfer::Direction::Save, std::move(*helper), loop_);
    std::lock_guard lock(mutex_);
    transfer_ = transfer;
    stopCause_ = request.kind == StreamKind::File ? StopCause::Saving : StopCause::Migrating;
    return transfer;
}

/// Limits that changed before the guest knew of its transfer reached nobody.
static void catchUp(Transfer &transfer, const std::function<TransferLimits()> &limits)
{
    if (!limits)
        return;
    for (TransferLimits told;; ) {
        told = limits();
        transfer.setLimits(told);
        if (limits() == told)
            return;
    }
}

Result<TransferProgress> MachineGuest::save(SaveRequest request)
{
    if (transfer())
        return makeError(ErrorCode::OperationInvalid, tr("'%s' is being moved already"), facts_.name.c_str());
    TRY(waitForMemory(request.observer));
    const std::string state = TRY(runState());
    if (state == "shutdown" || state == "internal-error" || state == "inmigrate")
        return makeError(ErrorCode::OperationInvalid, tr("'%s' cannot be saved: its emulator says '%s'"),
                         facts_.name.c_str(), state.c_str());
    // QEMU starts no second migration after one that ended, and the way back leads through
    // the running state: not for us to take with a guest that was meant to stand still.
    if (state == "postmigrate")
        return makeError(ErrorCode::OperationInvalid, tr("'%s' was moved before; resume it before it is moved again"),
                         facts_.name.c_str());
    const auto transfer = TRY(beginSaving(request, state == "running"));
    transfer->start(weak_from_this());
    if (request.maxTime.count() > 0)
        transfer->giveUpAfter(request.maxTime);
    catchUp(*transfer, request.limits);
    auto outcome = transfer->wait(request.observer);
    {
        std::lock_guard lock(mutex_);
        transfer_.reset();
        // An I/O error's stop may still be on its way.
        if (stopCause_ == StopCause::Saving || stopCause_ == StopCause::Migrating)
            stopCause_ = StopCause::Unknown;
    }
    // The guest first: a helper may take its time to leave.
    if (!outcome)
        outcome = undoSave(outcome.error(), *transfer, state == "running");
    transfer->collect();
    return outcome;
}

/// The guest stands still meanwhile: who waits for QEMU asks often, and gives up late.
static constexpr auto undoStep = std::chrono::milliseconds(1);
static constexpr auto undoPatience = std::chrono::seconds(10);

/// Leave the guest as it was before save(); the cause stays the cause.
Error MachineGuest::undoSave(Error cause, Transfer &transfer, bool wasRunning)
{
    const auto undo = [&]() -> Result<void> {
        if (transfer.stateBegun())
            TRY(settleMigration());
        else
            (void)call("closefd", Json::object({{"fdname", Transfer::pipeName}})).has_value();
        const std::string state = TRY(runState());
        if (!wasRunning || (state != "paused" && state != "postmigrate"))
            return {};
        TRY(unpause());
        log(LogLevel::Info, "domain '%s': resumed %.1f ms after its transfer failed", facts_.name.c_str(),
            transfer.sinceEnd().count());
        return {};
    };
    if (auto undone = undo(); !undone) {
        cause.message += "; ";
        cause.message += tr("the guest could not be resumed");
        cause.message += ": " + undone.error().message;
    }
    return cause;
}

Result<void> MachineGuest::settleMigration()
{
    const auto deadline = std::chrono::steady_clock::now() + undoPatience;
    for (bool cancelled = false;; cancelled = true) {
        const Json migration = TRY(call("query-migrate"));
        const std::string status = migration["status"].string().value_or("none");
        const bool over = status == "none" || status == "completed" || status == "failed" || status == "cancelled";
        // QEMU tells the end of a migration a moment before it lets its guest run again.
        if (over && TRY(runState()) != "finish-migrate")
            return {};
        if (!over && !cancelled)
            TRY(call("migrate_cancel"));
        if (std::chrono::steady_clock::now() > deadline)
            return makeError(ErrorCode::TimedOut, tr("the emulator of '%s' does not cancel its migration"),
                             facts_.name.c_str());
        std::this_thread::sleep_for(undoStep);
    }
}

Result<void> MachineGuest::resume(ResumeMode mode)
{
    if (mode == ResumeMode::Slow)
        return makeError(ErrorCode::Unsupported,
                         tr("'%s' is not resumed slowly: nothing changed its state while it stood still"),
                         facts_.name.c_str());
    TRY(settleMigration());
    return unpause();
}

// ---- receive -----------------------------------------------------------------------------

Result<void> MachineGuest::beginReceiving(ReceiveRequest &request)
{
    TRY(prepareMigration());
    fromFile_ = request.kind == StreamKind::File;
    const UniqueFd state = TRY(handPipe(/* write= */ false));
    auto helper = TRY(faults_ ? startOnDemand(request, state.get()) : startFilling(request, state.get()));
    auto transfer = std::make_shared<Transfer>(Transfer::Direction::Receive, std::move(helper), loop_);
    {
        std::lock_guard lock(mutex_);
        transfer_ = transfer;
        receiving_ = true;
    }
    transfer->start(weak_from_this());
    return {};
}

Result<std::shared_ptr<HelperProcess>> MachineGuest::startFilling(ReceiveRequest &request, int state)
{
    control::Restore order;
    order.guest = facts_.name;
    order.regions = memoryLayout(facts_.ramBytes);
    order.kind = toControl(request.kind);
    order.streamVersion = request.streamVersion;
    order.secret = request.secret;
    order.tls = toControl(request.tls);
    order.connections = request.connections;
    order.connectTimeoutMs = static_cast<uint32_t>(request.connectTimeout.count());
    order.index = toControl(request.index);
    order.bypassCache = request.bypassCache;
    const int fds[] = {ram_.get(), request.stream.get(), state};
    auto helper = TRY(HelperProcess::start(loop_, facts_.helper, std::move(order), fds));
    request.stream.reset();
    return helper;
}

Result<TransferProgress> MachineGuest::finishReceiving(TransferObserver *observer)
{
    const auto current = transfer();
    if (!current || current->direction() != Transfer::Direction::Receive)
        return makeError(ErrorCode::OperationInvalid, tr("'%s' is not being received"), facts_.name.c_str());
    auto outcome = current->wait(observer);
    current->collect();
    {
        std::lock_guard lock(mutex_);
        transfer_.reset();
        receiving_ = false;
        whole_ = current->stateLoaded();
        if (!outcome && !deathCause_)
            deathCause_ = DeathCause::Failed;
    }
    if (!outcome) {
        if (auto gone = destroy(false); !gone)
            log(LogLevel::Error, "domain '%s': %s", facts_.name.c_str(), gone.error().message.c_str());
        return outcome;
    }
    if (fromFile_)
        outcome->restore = onDemand_ ? "on-demand" : "full";
    return outcome;
}

bool MachineGuest::mayBeWhole()
{
    std::lock_guard lock(mutex_);
    return whole_ || (transfer_ && transfer_->stateLoaded());
}

// ---- meanwhile ---------------------------------------------------------------------------

Result<void> MachineGuest::abortTransfer(const std::string &failure)
{
    if (const auto missing = pending(); missing && missing->abort(failure))
        return {};
    const auto current = transfer();
    if (!current)
        return makeError(ErrorCode::OperationInvalid, tr("'%s' is not being moved"), facts_.name.c_str());
    current->abort(failure);
    return {};
}

Result<void> MachineGuest::setLimits(const TransferLimits &limits)
{
    const auto current = transfer();
    if (!current)
        return makeError(ErrorCode::OperationInvalid, tr("'%s' is not being moved"), facts_.name.c_str());
    current->setLimits(limits);
    return {};
}

} // namespace godwit::hypervisor::machine
