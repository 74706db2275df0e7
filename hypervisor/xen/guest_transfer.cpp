// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/i18n.h"
#include "base/log.h"
#include "base/strprintf.h"
#include "hypervisor/xen/config.h"
#include "hypervisor/xen/guest.h"
#include "hypervisor/xen/transfer.h"

#include <cerrno>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

namespace godwit::hypervisor::xen {

using base::Error;
using base::ErrorCode;
using base::LogLevel;
using base::makeError;
using base::Result;
using base::strprintf;
using base::systemError;
using base::tr;
using base::UniqueFd;

// libxl moves the guest with a helper of its own. A guest must answer the request to
// suspend, so one that is paused runs for as long as that takes.

static bool isSuspended(DomainInfo &state)
{
    return state->shutdown && state->shutdown_reason == LIBXL_SHUTDOWN_REASON_SUSPEND;
}

// ---- save --------------------------------------------------------------------------------

static Result<void> checkRequest(const SaveRequest &request)
{
    if (request.bypassCache)
        return unsupported(tr("images that bypass the page cache"));
    if (request.kind == StreamKind::Listener)
        return unsupported(tr("waiting for a destination to connect"));
    if (request.limits && request.limits().bandwidth)
        return unsupported(tr("a limit of a migration's bandwidth"));
    return {};
}

// ---- the relay ---------------------------------------------------------------------------

/// Let a relay stand between libxl and `fds`, a migration's connections or their listener; the pipe's
/// end that is libxl's.
Result<UniqueFd> XenGuest::startRelay(Transfer &transfer, control::Relay order, const std::optional<TlsSettings> &tls,
                                      std::vector<int> fds)
{
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) < 0)
        return systemError(errno, "pipe2");
    UniqueFd readEnd(ends[0]), writeEnd(ends[1]);
    const bool sends = order.kind == control::StreamKind::Channel;
    order.guest = facts_.name;
    if (tls)
        order.tls = {tls->directory, tls->verifyPeer, tls->peerName};
    fds.insert(fds.begin(), sends ? readEnd.get() : writeEnd.get());
    transfer.setRelay(TRY(RelayProcess::start(host_.helper, order, fds)));
    return sends ? std::move(writeEnd) : std::move(readEnd);
}

Result<UniqueFd> XenGuest::streamOf(Transfer &transfer, SaveRequest &request)
{
    if (request.kind != StreamKind::Channel)
        return std::move(request.stream);
    control::Relay order;
    order.kind = control::StreamKind::Channel;
    order.secret = request.secret;
    order.connections = static_cast<uint32_t>(request.furtherStreams.size() + 1);
    std::vector<int> fds{request.stream.get()};
    for (const UniqueFd &further : request.furtherStreams)
        fds.push_back(further.get());
    auto stream = startRelay(transfer, std::move(order), request.tls, std::move(fds));
    request.stream.reset();
    request.furtherStreams.clear();
    return stream;
}

/// libxl is through with its end of the pipe, and says how it went: the cause is whoever failed first. The
/// pipe stays open until a failed relay knows: its end would look like the stream's.
static Result<void> whole(RelayProcess &relay, UniqueFd &pipe, Result<void> ours)
{
    if (ours) {
        pipe.reset();
        return relay.wait();
    }
    constexpr std::chrono::seconds patience{1};
    if (auto theirs = relay.failure(patience))
        return std::move(*theirs);
    relay.abort(ours.error().message);
    return ours;
}

Result<TransferProgress> XenGuest::saveWith(Transfer &transfer, SaveRequest &request)
{
    const uint32_t domain = TRY(domid());
    Context &context = transfer.operation->context();
    DomainInfo state;
    TRY(info(context, state));
    if (state->shutdown)
        return makeError(ErrorCode::OperationInvalid, tr("the guest '%s' has shut down, or was moved before"),
                         facts_.name.c_str());
    UniqueFd stream = TRY(streamOf(transfer, request));
    const bool paused = state->paused;
    if (paused)
        TRY(context.check(libxl_domain_unpause(context, domain, nullptr), inContext(tr("unpausing it"))));
    // What stands still needs no rounds, and is asked to suspend at once.
    const int flags = request.live && !paused ? LIBXL_SUSPEND_LIVE : 0;
    transfer.observe(request.observer);
    auto sent = transfer.operation->run(inContext(tr("sending it")),
                                        [&](libxl_ctx *ctx, const libxl_asyncop_how *how) {
                                            return libxl_domain_suspend(ctx, domain, stream.get(), flags, how);
                                        });
    if (const auto relay = transfer.relay())
        sent = whole(*relay, stream, std::move(sent));
    stream.reset();
    transfer.observe(nullptr);
    std::unique_lock lock(mutex_);
    transfer_.reset();
    if (sent) {
        suspended_ = true;
        lock.unlock();
        setRunning(false);
        return transfer.figures();
    }
    const bool stay = paused || std::exchange(pauseWanted_, false);
    lock.unlock();
    return undoSave(transfer.aborted() ? transfer.abortion() : sent.error(), stay);
}

/// Leave the guest as it was before save(); the cause stays the cause.
Error XenGuest::undoSave(Error cause, bool wasPaused)
{
    const auto undo = [&]() -> Result<void> {
        TRY(resume(ResumeMode::Fast));
        if (wasPaused)
            TRY(pause(StopCause::User));
        return {};
    };
    if (auto undone = undo(); !undone) {
        cause.message += "; ";
        cause.message += tr("the guest could not be resumed");
        cause.message += ": " + undone.error().message;
    }
    return cause;
}

Result<TransferProgress> XenGuest::save(SaveRequest request)
{
    TRY(requireNotHost());
    TRY(checkRequest(request));
    TRY(domid());
    auto transfer = std::make_shared<Transfer>(Transfer::Direction::Save, TRY(Operation::withXenstore()));
    transfer->maxRounds = request.maxRounds;
    transfer->maxTime = request.maxTime;
    transfer->giveUp = [this](const std::string &reason) { (void)abortTransfer(reason).has_value(); };
    {
        std::lock_guard lock(mutex_);
        if (transfer_)
            return makeError(ErrorCode::OperationInvalid, tr("'%s' is being moved already"), facts_.name.c_str());
        transfer_ = transfer;
    }
    auto outcome = saveWith(*transfer, request);
    std::lock_guard lock(mutex_);
    transfer_.reset();
    return outcome;
}

/// The call by which the guest suspended returns 1: nothing has changed.
Result<void> XenGuest::resumeFast(Operation &operation, uint32_t domain)
{
    TRY(operation.run(inContext(tr("resuming it")), [&](libxl_ctx *ctx, const libxl_asyncop_how *how) {
        return libxl_domain_resume(ctx, domain, /* suspend_cancel= */ 1, how);
    }));
    // What watched this domain has seen it end.
    return host_.watcher.watch(domain, weak_from_this());
}

/// It returns 0, as on another host: the guest takes nothing of what it had for granted, and must find it new.
/// libxl_domain_resume() without suspend_cancel renews nothing, which Linux does not survive; a soft reset does,
/// and libxl has it for HVM guests only.
Result<void> XenGuest::resumeSlowly(uint32_t domain)
{
    if (facts_.osType != VIR_DOMAIN_OSTYPE_HVM)
        return unsupported(tr("slow resume of a guest that is not fully virtualized"));
    return renewSurroundings(domain);
}

Result<void> XenGuest::resume(ResumeMode mode)
{
    // A late answer to a request to suspend may come while somebody else resumes.
    std::lock_guard one(resumption_);
    const uint32_t domain = TRY(domid());
    auto operation = TRY(Operation::withXenstore());
    DomainInfo state;
    TRY(info(operation->context(), state));
    if (isSuspended(state))
        TRY(mode == ResumeMode::Slow ? resumeSlowly(domain) : resumeFast(*operation, domain));
    // Neither does a guest that never suspended (libxl would fail) need more than this.
    if (state->paused || mode == ResumeMode::Slow)
        TRY(operation->run(inContext(tr("unpausing it")), [&](libxl_ctx *ctx, const libxl_asyncop_how *how) {
            return libxl_domain_unpause(ctx, domain, how);
        }));
    setRunning(true);
    std::lock_guard lock(mutex_);
    suspended_ = false;
    return {};
}

// ---- receive -----------------------------------------------------------------------------

Result<UniqueFd> XenGuest::acceptPeer(Transfer &transfer, const ReceiveRequest &request)
{
    TRY(waitForPeer(transfer, request.stream.get(), static_cast<int>(request.connectTimeout.count())));
    UniqueFd peer(::accept4(request.stream.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!peer)
        return systemError(errno, tr("cannot accept the source's connection"));
    return peer;
}

/// Until `fd` has something for us, or the transfer is aborted.
Result<void> XenGuest::waitForPeer(Transfer &transfer, int fd, int timeout)
{
    pollfd fds[] = {{fd, POLLIN, 0}, {transfer.wakeup.get(), POLLIN, 0}};
    int ready = 0;
    do {
        ready = ::poll(fds, std::size(fds), timeout);
    } while (ready < 0 && errno == EINTR);
    if (ready < 0)
        return systemError(errno, "poll");
    if (fds[1].revents)
        return transfer.abortion();
    if (ready == 0)
        return makeError(ErrorCode::TimedOut, tr("the source of '%s' did not connect"), facts_.name.c_str());
    return {};
}

/// The stream that is libxl's to read; there is something in it.
Result<UniqueFd> XenGuest::streamOf(Transfer &transfer, ReceiveRequest &request)
{
    if (request.kind != StreamKind::Listener)
        return std::move(request.stream);
    if (request.secret.empty())
        return acceptPeer(transfer, request);
    control::Relay order;
    order.kind = control::StreamKind::Listener;
    order.secret = request.secret;
    order.connections = request.connections;
    order.connectTimeoutMs = static_cast<uint32_t>(request.connectTimeout.count());
    auto stream = startRelay(transfer, std::move(order), request.tls, {request.stream.get()});
    request.stream.reset();
    if (!stream)
        return stream;
    // The relay gives up by itself when nobody comes.
    TRY(waitForPeer(transfer, stream->get(), -1));
    return stream;
}

Result<TransferProgress> XenGuest::receive(Transfer &transfer, ReceiveRequest &request, libxl_domain_config *config)
{
    UniqueFd stream = TRY(streamOf(transfer, request));
    RestoreParams params;
    params->stream_version = request.streamVersion;
    uint32_t made = 0;
    auto received = transfer.operation->run(
        inContext(tr("receiving it")), [&](libxl_ctx *ctx, const libxl_asyncop_how *how) {
            return libxl_domain_create_restore(ctx, config, &made, stream.get(), -1, params.get(), how, nullptr);
        });
    if (const auto relay = transfer.relay())
        received = whole(*relay, stream, std::move(received));
    stream.reset();
    TRY(std::move(received));
    TRY(attach(made));
    return transfer.figures();
}

Result<void> XenGuest::beginReceiving(ReceiveRequest request, std::unique_ptr<DomainConfig> config)
{
    auto transfer = std::make_shared<Transfer>(Transfer::Direction::Receive, TRY(Operation::withXenstore()));
    {
        std::lock_guard lock(mutex_);
        transfer_ = transfer;
    }
    auto shared = std::make_shared<ReceiveRequest>(std::move(request));
    // The guest outlives this thread: its destructor waits for it.
    receiver_ = std::thread([this, transfer, shared, config = std::shared_ptr<DomainConfig>(std::move(config))] {
        auto outcome = receive(*transfer, *shared, config->get());
        if (!outcome && transfer->aborted())
            outcome = transfer->abortion();
        std::lock_guard lock(mutex_);
        transfer->outcome = std::move(outcome);
        changed_.notify_all();
    });
    return {};
}

Result<TransferProgress> XenGuest::finishReceiving(TransferObserver *observer)
{
    const auto current = transfer();
    if (!current || current->direction != Transfer::Direction::Receive)
        return makeError(ErrorCode::OperationInvalid, tr("'%s' is not being received"), facts_.name.c_str());
    current->observe(observer);
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return current->outcome.has_value(); });
    auto outcome = *current->outcome;
    transfer_.reset();
    lock.unlock();
    current->observe(nullptr);
    if (outcome)
        return outcome;
    if (auto gone = destroy(false); !gone)
        log(LogLevel::Error, "%s", gone.error().message.c_str());
    return outcome;
}

// ---- meanwhile ---------------------------------------------------------------------------

Result<void> XenGuest::abortTransfer(const std::string &failure)
{
    const auto current = transfer();
    if (!current)
        return makeError(ErrorCode::OperationInvalid, tr("'%s' is not being moved"), facts_.name.c_str());
    host_.errands.run([current, failure] { current->abort(failure); });
    return {};
}

Result<void> XenGuest::setLimits(const TransferLimits &)
{
    return unsupported(tr("limits of bandwidth and downtime: libxl has its own policy"));
}

} // namespace godwit::hypervisor::xen
