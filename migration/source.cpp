// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/i18n.h"
#include "base/log.h"
#include "base/strprintf.h"
#include "domain/host.h"
#include "domain/job.h"
#include "domain/lifecycle.h"
#include "migration/data_connection.h"
#include "migration/negotiation.h"
#include "migration/phases.h"
#include "migration/recovery.h"
#include "migration/safety.h"
#include "migration/tls.h"
#include "migration/travel_xml.h"
#include "migration/tunnel.h"
#include "migration/verdict.h"

namespace godwit::migration {

using base::ErrorCode;
using base::LogLevel;
using base::makeError;
using base::Result;
using base::strprintf;
using base::tr;
using domain::AsyncJob;
using domain::Domain;
using domain::Host;
using domain::MigrationPhase;

/// The client went away between two phases: nobody will call the next one.
static void sourceClosed(virDomainObj *object, virConnectPtr)
{
    Domain domain = Domain::borrow(object);
    auto job = AsyncJob::resume(domain, VIR_ASYNC_JOB_MIGRATION_OUT);
    if (!job)
        return;
    if (domain.data().phase == MigrationPhase::Perform) {
        // Perform is under way in another thread: make it fail, and it puts things right.
        if (domain.data().guest)
            (void)domain.data().guest->abortTransfer().has_value();
        (*job)->keep();
        return;
    }
    if (domain.data().phase == MigrationPhase::Performed) {
        (*job)->keep();
        return settleSentBeside(domain);
    }
    (*job)->fail(makeError(ErrorCode::Aborted, "%s", tr("the migration's client disconnected")));
    enterPhase(domain, MigrationPhase::None);
}

/// Notice when the client goes away, where it is the client that holds the phases together.
static void watchClient(Domain &domain, const Request &request)
{
    if (request.connection)
        virCloseCallbacksDomainAdd(domain.object(), request.connection, sourceClosed);
}

static void unwatchClient(Domain &domain, const Request &request)
{
    if (request.connection)
        virCloseCallbacksDomainRemove(domain.object(), request.connection, sourceClosed);
}

void leavePaused(Domain &domain, const base::Error &cause)
{
    if (auto job = AsyncJob::resume(domain, VIR_ASYNC_JOB_MIGRATION_OUT))
        stayPaused(domain, **job, cause);
}

/// The persistent definition that PERSIST_DEST shall store there; empty: as the live one.
static Result<std::string> outgoingPersistentXml(Domain &domain, const Request &request)
{
    if (!(request.flags & VIR_MIGRATE_PERSIST_DEST))
        return std::string();
    constexpr unsigned format = VIR_DOMAIN_DEF_FORMAT_SECURE | VIR_DOMAIN_DEF_FORMAT_INACTIVE;
    Host &host = domain.host();
    if (!request.persistentXml.empty()) {
        conf::DomainDef def = TRY(host.parse(request.persistentXml.c_str(), VIR_DOMAIN_DEF_PARSE_INACTIVE));
        return std::string(TRY(host.format(def.get(), format)).get());
    }
    if (virDomainDef *def = domain.object()->newDef)
        return std::string(TRY(host.format(def, format)).get());
    return std::string();
}

Result<Cookie> makeCookie(const Domain &domain)
{
    Cookie cookie;
    cookie.name = domain.def()->name;
    std::copy_n(domain.def()->uuid, cookie.uuid.size(), cookie.uuid.begin());
    cookie.hostname = TRY(hostname());
    cookie.extension.emplace();
    cookie.extension->question = true;
    return cookie;
}

/// What Begin offers for a migration of this kind.
static Abilities offerFor(const Request &request)
{
    Abilities offer = sourceAbilities();
    offer.channels = request.connections;
    offer.tls = request.flags & VIR_MIGRATE_TLS;
    return offer;
}

static Result<void> checkOffline(const Domain &domain, const Request &request)
{
    if (!(request.flags & VIR_MIGRATE_PERSIST_DEST))
        return makeError(ErrorCode::InvalidArgument, "%s", tr("an offline migration needs --persistent"));
    if (request.flags & VIR_MIGRATE_TUNNELLED)
        return makeError(ErrorCode::InvalidArgument, "%s", tr("an offline migration has nothing to tunnel"));
    if (!domain.active() && domain.object()->hasManagedSave)
        return makeError(ErrorCode::OperationInvalid,
                         tr("domain '%s' has a managed-save image, which would stay behind: start it, or remove the "
                            "image"),
                         domain.def()->name);
    return {};
}

/// Whether a running guest may go at all, and as its user wants it.
static Result<void> checkMovable(Domain &domain, const Request &request)
{
    TRY(domain.requireActive());
    TRY(checkHostDevices(domain.def()));
    TRY(checkGraphicsUri(domain.def(), request.graphicsUri));
    TRY(checkTlsForce(domain.host().settings(), request.flags));
    if (request.flags & VIR_MIGRATE_TLS)
        TRY(domain.unlocked([&] { return checkSourceTls(domain.host().settings()); }));
    // What stands still is not sent live.
    if (request.flags & VIR_MIGRATE_LIVE && domain.state() == VIR_DOMAIN_RUNNING)
        TRY(domain.host().hypervisor().checkLive(domain.def()));
    if (request.flags & VIR_MIGRATE_UNSAFE)
        return {};
    // A file system may make us wait.
    Host &host = domain.host();
    const conf::DomainDef def(virDomainDefCopy(domain.def(), host.xmlOption(), nullptr, true));
    if (!def)
        return conf::takeLibvirtError();
    TRY(domain.unlocked([&] { return checkDisks(def.get(), host.hypervisor().dropsDiskCaches()); }));
    return domain.requireActive();
}

Result<BeginReply> begin(Domain &domain, const Request &request)
{
    auto job = TRY(AsyncJob::begin(domain, VIR_ASYNC_JOB_MIGRATION_OUT, VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT,
                                   request.flags));
    TRY(isOffline(request) ? checkOffline(domain, request) : checkMovable(domain, request));
    BeginReply reply;
    reply.xml = TRY(travelXml(domain, request.xml));
    reply.cookie = TRY(makeCookie(domain));
    reply.cookie.extension->abilities = offerFor(request);
    reply.cookie.extension->persistentXml = TRY(outgoingPersistentXml(domain, request));
    // An earlier one that left it paused: it is its user's since.
    domain::forgetMigration(domain);
    // Without protection across the phases nobody promises to call Confirm.
    if (request.flags & VIR_MIGRATE_CHANGE_PROTECTION) {
        watchClient(domain, request);
        enterPhase(domain, MigrationPhase::Begin);
        job->keep();
    }
    return reply;
}

static Result<std::unique_ptr<AsyncJob>> continueJob(Domain &domain, const Request &request)
{
    if (request.flags & VIR_MIGRATE_CHANGE_PROTECTION)
        return AsyncJob::resume(domain, VIR_ASYNC_JOB_MIGRATION_OUT);
    return AsyncJob::begin(domain, VIR_ASYNC_JOB_MIGRATION_OUT, VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT,
                           request.flags);
}

/// Nothing is sent before both sides agree on how.
static Result<void> checkReadiness(const Domain &domain, const Request &request, const Cookie &destination)
{
    int reason = 0;
    if (request.flags & VIR_MIGRATE_ABORT_ON_ERROR && domain.state(&reason) == VIR_DOMAIN_PAUSED &&
        reason == VIR_DOMAIN_PAUSED_IOERROR)
        return makeError(ErrorCode::OperationInvalid, tr("domain '%s' stands still after an I/O error"),
                         domain.def()->name);
    TRY(checkChoice(offerFor(request), destination, /* tunnelled= */ request.tunnel));
    TRY(checkDemand(request.connections, request.flags & VIR_MIGRATE_TLS,
                    destination.extension ? destination.extension->abilities : Abilities(), destination.hostname));
    if (!destination.extension && !domain.host().settings().migrationPlainPeers)
        return makeError(ErrorCode::Unsupported, "%s",
                         tr("the destination knows no secret for its data connection, and migration_plain_peers in "
                            "godwit.conf does not allow that"));
    return {};
}

/// Everything of the transfer but the connection that it goes over.
static hypervisor::SaveRequest describeTransfer(Domain &domain, const Request &request, const Cookie &destination,
                                                AsyncJob &job)
{
    hypervisor::SaveRequest save;
    save.kind = hypervisor::StreamKind::Plain;
    if (destination.extension && !request.tunnel) {
        save.kind = hypervisor::StreamKind::Channel;
        save.secret = destination.extension->secret;
    }
    save.live = request.flags & VIR_MIGRATE_LIVE;
    save.limits = [&domain] {
        virObjectLock(domain.object());
        const auto limits = domain.data().transferLimits;
        virObjectUnlock(domain.object());
        return limits;
    };
    domain.data().transferLimits = domain.data().limits;
    if (request.bandwidth)
        domain.data().transferLimits.bandwidth = request.bandwidth;
    save.maxRounds = domain.host().settings().migrationMaxRounds;
    save.maxTime = std::chrono::seconds(domain.host().settings().migrationMaxTime);
    save.observer = &job;
    return save;
}

/// Save into the tunnel: it is through when the tunnel is.
static Result<hypervisor::TransferProgress> saveTunnelled(hypervisor::Guest &guest, virStream *stream,
                                                          hypervisor::SaveRequest save)
{
    TunnelSender tunnel(stream);
    save.stream = TRY(tunnel.start());
    auto saved = guest.save(std::move(save));
    auto carried = tunnel.finish(saved.has_value());
    if (carried)
        return saved;
    if (saved) {
        if (auto resumed = guest.resume(hypervisor::ResumeMode::Fast); !resumed)
            log(LogLevel::Error, "%s", resumed.error().message.c_str());
    }
    return saved || saved.error().code != ErrorCode::Aborted ? std::move(carried).error() : std::move(saved).error();
}

/// Send the guest; on success it is stopped here and whole there.
static Result<hypervisor::TransferProgress> send(Domain &domain, const Request &request, const Cookie &destination,
                                                 AsyncJob &job)
{
    auto guest = TRY(domain.guest());
    TRY(checkReadiness(domain, request, destination));
    hypervisor::SaveRequest save = describeTransfer(domain, request, destination, job);
    if (request.tunnel)
        return domain.unlocked([&] { return saveTunnelled(*guest, request.tunnel, std::move(save)); });
    const Endpoint endpoint = TRY(Endpoint::parse(request.uri.c_str()));
    if (endpoint.port == 0)
        return makeError(ErrorCode::InvalidArgument, tr("migration URI '%s' names no port"), request.uri.c_str());
    if (request.flags & VIR_MIGRATE_TLS)
        save.tls = hypervisor::TlsSettings{domain.host().settings().tlsDirectory, true,
                                           request.tlsDestination.empty() ? endpoint.host : request.tlsDestination};
    return domain.unlocked([&]() -> Result<hypervisor::TransferProgress> {
        auto connections = TRY(connectTo(endpoint, request.connections));
        save.stream = std::move(connections.front());
        connections.erase(connections.begin());
        save.furtherStreams = std::move(connections);
        return guest->save(std::move(save));
    });
}

/// Where the destination can be asked later.
static domain::MigrationLink linkTo(const Request &request, const Cookie &destination)
{
    const auto endpoint = Endpoint::parse(request.uri.c_str());
    if (!endpoint || !destination.extension || !destination.extension->question)
        return {};
    return {endpoint->host, endpoint->port, destination.extension->secret};
}

/// A guest that was suspended to make its migration end runs again, too, when that has failed.
static void tellOfResumption(Domain &domain)
{
    const auto guest = domain.guest();
    if (guest && (*guest)->running() && domain.state() == VIR_DOMAIN_PAUSED)
        domain.setState(VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_MIGRATION_CANCELED, VIR_DOMAIN_EVENT_RESUMED,
                        VIR_DOMAIN_EVENT_RESUMED_MIGRATED);
}

Result<Cookie> perform(Domain &domain, const Request &request, const Cookie &fromDestination)
{
    auto job = TRY(continueJob(domain, request));
    unwatchClient(domain, request);
    watchClient(domain, request);
    domain.data().ranBeforeMigration = domain.state() == VIR_DOMAIN_RUNNING;
    domain.data().undefineAfterMigration = request.flags & VIR_MIGRATE_UNDEFINE_SOURCE;
    const domain::MigrationLink link = linkTo(request, fromDestination);
    domain.data().link = link;
    enterPhase(domain, MigrationPhase::Perform);
    domain.data().abortOnIoError = request.flags & VIR_MIGRATE_ABORT_ON_ERROR;
    auto sent = send(domain, request, fromDestination, *job);
    domain.data().abortOnIoError = false;
    if (!sent) {
        // The guest goes on already: save() resumed it. No Confirm will come.
        unwatchClient(domain, request);
        enterPhase(domain, MigrationPhase::None);
        tellOfResumption(domain);
        if (!link.secret.empty())   // once will do: whoever called Perform cancels the copy with Finish
            domain.host().background().run([link] { (void)dismiss(link); });
        job->fail(sent.error());
        return std::move(sent).error().in(strprintf(tr("migrating '%s'"), domain.def()->name));
    }
    TRY(domain.requireActive());
    domain.host().services().yieldLeases(domain);
    // The guest waits for each writing of the status file: state and phase go in one.
    domain.data().phase = MigrationPhase::Performed;
    domain.setState(VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_MIGRATION, VIR_DOMAIN_EVENT_SUSPENDED,
                    VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED);
    domain.data().performedAt = std::chrono::steady_clock::now();
    job->update(*sent);
    job->keep();
    auto reply = makeCookie(domain);
    if (!reply)
        return Cookie();
    reply->extension->stoodStill = std::chrono::milliseconds(sent->downtime);
    reply->extension->rounds = sent->iteration;
    return reply;
}

/// The whole downtime: until Perform ended, the way to Finish, and what Finish took. Only the way
/// there and back together can be measured here: half of it counts.
static uint64_t wholeDowntime(const Domain &domain, uint64_t untilPerformed, const Cookie &fromDestination)
{
    using namespace std::chrono;
    if (!fromDestination.extension || !fromDestination.extension->stoodStill)
        return untilPerformed;
    const auto sincePerformed = duration_cast<milliseconds>(steady_clock::now() - domain.data().performedAt);
    const milliseconds finishing = std::min(*fromDestination.extension->stoodStill, sincePerformed);
    return untilPerformed + static_cast<uint64_t>((finishing + (sincePerformed - finishing) / 2).count());
}

/// The definition has gone, the guest (if there is one) stays.
static void confirmOffline(Domain &domain, const Request &request)
{
    if (request.flags & VIR_MIGRATE_UNDEFINE_SOURCE)
        undefine(domain);
    if (!domain.active() && !domain.persistent())
        domain.remove();
}

Result<void> confirm(Domain &domain, const Request &request, const Cookie &fromDestination, bool cancelled)
{
    auto job = TRY(AsyncJob::resume(domain, VIR_ASYNC_JOB_MIGRATION_OUT));
    unwatchClient(domain, request);
    const bool sent = domain.data().phase == MigrationPhase::Performed;
    if (isOffline(request)) {
        enterPhase(domain, MigrationPhase::None);
        if (!cancelled)
            confirmOffline(domain, request);
        return {};
    }
    TRY(domain.requireActive());
    if (cancelled) {
        // Finish has failed, or its answer was lost: only the destination knows.
        if (sent && !domain.data().link.secret.empty())
            return settleSent(domain, *job);
        // A guest that was never stopped is not resumed; a stock peer cannot be asked.
        if (sent)
            goOn(domain, std::chrono::steady_clock::now());
        enterPhase(domain, MigrationPhase::None);
        job->fail(makeError(ErrorCode::Aborted, "%s", tr("the migration was cancelled")));
        return {};
    }
    if (!sent)
        return makeError(ErrorCode::OperationInvalid, tr("domain '%s' has not been sent: it stays here"),
                         domain.def()->name);
    if (virDomainJobData *data = domain.object()->job->current) {
        hypervisor::TransferProgress figures = domain::progressOf(data);
        figures.downtime = wholeDowntime(domain, figures.downtime, fromDestination);
        job->complete(figures);
    }
    domain.data().undefineAfterMigration = request.flags & VIR_MIGRATE_UNDEFINE_SOURCE;
    return endSource(domain);
}

} // namespace godwit::migration
