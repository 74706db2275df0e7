// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/i18n.h"
#include "base/log.h"
#include "base/strprintf.h"
#include "domain/host.h"
#include "migration/peer.h"

namespace godwit::migration {

using base::ErrorCode;
using base::LogLevel;
using base::makeError;
using base::Result;
using base::tr;
using domain::Domain;

/// What the destination need not know, and what one that is older or stock would refuse.
static constexpr unsigned sourceOnlyFlags =
    VIR_MIGRATE_ABORT_ON_ERROR | VIR_MIGRATE_CHANGE_PROTECTION | VIR_MIGRATE_UNSAFE;

static unsigned flagsForPeer(const Domain &domain, const Request &request)
{
    const bool paused = domain.state() == VIR_DOMAIN_PAUSED;
    unsigned flags = request.flags & ~sourceOnlyFlags;
    if (paused)
        flags |= VIR_MIGRATE_PAUSED;
    return flags;
}

static Result<void> checkTunnel(const Request &request)
{
    if (!(request.flags & VIR_MIGRATE_TUNNELLED))
        return {};
    if (!request.uri.empty())
        return makeError(ErrorCode::InvalidArgument, "%s", tr("a tunnelled migration takes no migration URI"));
    if (!request.listenAddress.empty())
        return makeError(ErrorCode::InvalidArgument, "%s", tr("a tunnelled migration takes no listen address"));
    return {};
}

/// Confirm, once the destination has said what became of the guest there.
static Result<void> settle(Domain &domain, const Request &request, Result<Cookie> finished, bool lost)
{
    // Over a tunnel there is no other way to ask; else confirm() does.
    if (!finished && lost && domain.data().link.secret.empty()) {
        leavePaused(domain, finished.error());
        return std::move(finished).error();
    }
    auto confirmed = confirm(domain, request, finished ? *finished : Cookie(), !finished);
    if (!confirmed)
        log(LogLevel::Error, "%s", confirmed.error().message.c_str());
    // The answer was lost, and asking has shown that the guest runs there.
    if (lost && confirmed && !domain.active())
        return {};
    if (!finished)
        return std::move(finished).error();
    return {};
}

/// A tunnel only says that it broke; why, the destination knows.
static base::Error whyNotSent(base::Error error, const Request &request, const Result<Cookie> &finished)
{
    if (!request.tunnel || finished || error.code == ErrorCode::Aborted ||
        finished.error().native == VIR_ERR_OPERATION_ABORTED)
        return error;
    error.message += base::strprintf(tr("; the destination says: %s"), finished.error().message.c_str());
    return error;
}

Result<void> migrateToPeer(Domain &domain, Request request)
{
    TRY(checkTunnel(request));
    // Nobody else holds the phases together: the job stays open, whatever becomes of the client.
    request.flags |= VIR_MIGRATE_CHANGE_PROTECTION;
    request.connection = nullptr;
    const std::string name = domain.name();
    Peer peer = TRY(domain.unlocked([&] { return Peer::open(request.peerUri, domain.host().settings()); }));
    if (auto guest = domain.guest())
        TRY(peer.abortAtItsEnd(*guest));
    const BeginReply begun = TRY(begin(domain, request));
    const unsigned flags = flagsForPeer(domain, request);
    auto prepared = domain.unlocked([&] { return peer.prepare(request, begun, flags); });
    if (!prepared)
        return settle(domain, request, std::move(prepared).error(), /* lost= */ false);
    request.uri = prepared->uri;
    request.tunnel = prepared->stream.get();
    auto performed = isOffline(request) ? Result<Cookie>(begun.cookie) : perform(domain, request, prepared->cookie);
    auto finished = domain.unlocked([&] {
        return peer.finish(request, name, request.uri, performed ? *performed : begun.cookie, !performed, flags);
    });
    if (!performed)
        return whyNotSent(std::move(performed).error(), request, finished);   // and the guest runs on already
    return settle(domain, request, std::move(finished), !peer.alive());
}

} // namespace godwit::migration
