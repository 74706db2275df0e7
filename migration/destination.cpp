// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/i18n.h"
#include "base/log.h"
#include "base/rollback.h"
#include "base/strprintf.h"
#include "domain/host.h"
#include "domain/job.h"
#include "domain/lifecycle.h"
#include "migration/data_connection.h"
#include "migration/negotiation.h"
#include "migration/phases.h"
#include "migration/tls.h"
#include "migration/tunnel.h"
#include "migration/witness.h"

#include <fcntl.h>

namespace godwit::migration {

using base::ErrorCode;
using base::LogLevel;
using base::makeError;
using base::Result;
using base::Rollback;
using base::strprintf;
using base::tr;
using domain::AsyncJob;
using domain::Domain;
using domain::Host;
using domain::MigrationPhase;

/// End an incoming guest and every trace of it.
static void discard(Domain &domain)
{
    const auto witness = domain.data().witness;
    const auto guest = domain.data().guest;
    if (guest) {
        (void)guest->abortTransfer().has_value();
        if (witness)
            witness->record(Verdict::Ended);
        if (auto gone = domain::destroyGuest(domain, guest, false); !gone)
            log(LogLevel::Error, "%s", gone.error().message.c_str());
    }
    domain::endDomain(domain, VIR_DOMAIN_SHUTOFF_FAILED, VIR_DOMAIN_EVENT_STOPPED_FAILED);
    domain.data().phase = MigrationPhase::None;
    domain::dropLiveDefinition(domain);
    // A source that holds its guest for sent will ask.
    if (witness && guest && guest->mayBeWhole())
        witness->testify(Verdict::Ended, domain.host().background());
}

/// The client (or the source's daemon) went away before Finish.
static void destinationClosed(virDomainObj *object, virConnectPtr)
{
    Domain closed = Domain::borrow(object);
    if (closed.data().phase != MigrationPhase::Receive)
        return;
    // Not here: ending the guest takes its time, and this may be the daemon's main thread.
    closed.host().background().run([reference = conf::ObjectRef<virDomainObj>::share(object),
                                    incarnation = closed.data().events] {
        Domain domain = Domain::lock(reference.get());
        if (domain.data().events != incarnation || domain.data().phase != MigrationPhase::Receive)
            return;
        if (auto job = AsyncJob::resume(domain, VIR_ASYNC_JOB_MIGRATION_IN)) {
            (*job)->fail(makeError(ErrorCode::Aborted, "%s", tr("the migration's client disconnected")));
            discard(domain);
        }
    });
}

/// What does not hang together with the domain XML is refused before anything is done.
static Result<void> checkIdentity(const Cookie &cookie, const virDomainDef *def, bool renamed)
{
    char theirs[VIR_UUID_STRING_BUFLEN];
    char ours[VIR_UUID_STRING_BUFLEN];
    virUUIDFormat(cookie.uuid.data(), theirs);
    virUUIDFormat(def->uuid, ours);
    if (STRNEQ(theirs, ours))
        return makeError(ErrorCode::InvalidArgument,
                         tr("the migration cookie names the domain with UUID %s, the domain XML that with UUID %s"),
                         theirs, ours);
    if (!renamed && cookie.name != def->name)
        return makeError(ErrorCode::InvalidArgument,
                         tr("the migration cookie names domain '%s', the domain XML '%s'"), cookie.name.c_str(),
                         def->name);
    return {};
}

/// Read Begin's cookie and choose how the guest shall come.
static Result<void> negotiate(Host &host, const Request &request, const char *text, int length, Incoming &incoming)
{
    const std::string here = TRY(hostname());
    Cookie &cookie = incoming.cookie;
    const auto decide = [&]() -> Result<void> {
        if (text && length > 0) {
            cookie = TRY(parseCookie(text, length));
            incoming.fromOurs = cookie.extension.has_value();
            TRY(checkIdentity(cookie, incoming.def.get(), !request.name.empty()));
        } else {
            // A source from before stream versions existed.
            cookie.streamVersion = legacyStreamVersion;
        }
        if (!incoming.fromOurs && !host.settings().migrationPlainPeers)
            return makeError(ErrorCode::Unsupported, "%s",
                             tr("its data connection would come without a secret, which migration_plain_peers in "
                                "godwit.conf does not let in"));
        Abilities own = destinationAbilities();
        // A source may be able to do more than its user asked it for.
        own.channels = std::min(own.channels, request.connections);
        TRY(checkTlsForce(host.settings(), request.flags));
        const bool tls = request.flags & VIR_MIGRATE_TLS;
        own.tls = tls;
        if (own.tls)
            TRY(checkDestinationTls(host.settings()));
        incoming.chosen = TRY(choose(offerOf(cookie), cookie.hostname, own, here));
        TRY(checkDemand(request.connections, tls, incoming.chosen, cookie.hostname));
        return {};
    };
    auto decided = decide();
    if (!decided)
        return std::move(decided).error().in(strprintf(
            tr("host '%s' refuses domain '%s' from host '%s'"), here.c_str(), incoming.def->name,
            cookie.hostname.empty() ? "?" : cookie.hostname.c_str()));
    return {};
}

Result<Incoming> readIncoming(Host &host, const Request &request, const char *cookie, int length)
{
    Incoming incoming;
    if (request.xml.empty())
        return makeError(ErrorCode::InvalidArgument, "%s", tr("no domain XML was passed"));
    // The parser looks at names in definitions only.
    if (request.name.find_first_of("/\n") != std::string::npos)
        return makeError(ErrorCode::InvalidArgument, tr("a domain's name cannot contain '/' or a line break: '%s'"),
                         request.name.c_str());
    incoming.def = TRY(host.parse(request.xml.c_str(), VIR_DOMAIN_DEF_PARSE_INACTIVE));
    TRY(negotiate(host, request, cookie, length, incoming));
    // Finish needs it, when it is late to find that it is wrong.
    if (incoming.fromOurs && !incoming.cookie.extension->persistentXml.empty())
        TRY_IN(tr("the persistent definition"),
               host.parse(incoming.cookie.extension->persistentXml.c_str(), VIR_DOMAIN_DEF_PARSE_INACTIVE));
    incoming.def = TRY(host.services().filterIncoming(host, std::move(incoming.def)));
    TRY(host.hypervisor().checkMemory(incoming.def.get()));
    if (!request.name.empty()) {
        g_free(incoming.def->name);
        incoming.def->name = g_strdup(request.name.c_str());
    }
    return incoming;
}

/// 32 random bytes, as hex.
static Result<std::string> makeSecret()
{
    std::array<unsigned char, 32> bytes;
    TRY(conf::check(virRandomBytes(bytes.data(), bytes.size())));
    std::string secret;
    for (unsigned char byte : bytes)
        secret += strprintf("%02x", byte);
    return secret;
}

/// The name under which the source reaches us, unless its user says otherwise.
static Result<std::string> ownHost(const Host &host)
{
    if (!host.settings().migrationHost.empty())
        return host.settings().migrationHost;
    std::string name = TRY(hostname());
    if (name.starts_with("localhost"))
        return makeError(ErrorCode::OperationFailed, "%s",
                         tr("this host's name resolves to localhost, where no other host can reach it: give "
                            "--migrateuri, or set migration_host in godwit.conf"));
    return name;
}

/// Receive on a port. `endpoint` comes with the host, and gets the port; `asks`: the source may ask
/// there, at the end, what became of the guest.
static Result<void> receiveOnPort(Domain &domain, const Request &request, hypervisor::ReceiveRequest receive,
                                  bool asks, Endpoint &endpoint)
{
    Host &host = domain.host();
    const std::string &given = request.listenAddress;
    const std::string address = given.empty() ? host.settings().migrationAddress : given;
    ListeningSocket listening =
        TRY(domain.unlocked([&] { return listenOn(address, endpoint.port, host.migrationPorts()); }));
    endpoint.port = listening.port;
    // The helper listens first; once it has ended, the witness does.
    const domain::MigrationLink here{address, listening.port, asks ? receive.secret : ""};
    domain.data().witness = std::make_shared<Witness>(
        base::UniqueFd(asks ? ::fcntl(listening.fd.get(), F_DUPFD_CLOEXEC, 3) : -1), here, listening.acquired,
        witnessPath(host, domain.def(), listening.port));
    if (asks)
        domain.data().link = here;
    Rollback rollback;
    rollback.onFailure([&] {
        domain.data().witness.reset();
        domain.data().link = {};
    });
    receive.stream = std::move(listening.fd);
    receive.kind = hypervisor::StreamKind::Listener;
    TRY(domain::receiveDomain(domain, std::move(receive)));
    rollback.commit();
    return {};
}

/// Receive out of the daemon's connection to the source's. libvirt's event loop fills the pipe.
static Result<void> receiveFromTunnel(Domain &domain, virStream *tunnel, hypervisor::ReceiveRequest receive)
{
    Pipe pipe = TRY(Pipe::make());
    receive.stream = std::move(pipe.readEnd);
    receive.kind = hypervisor::StreamKind::Plain;
    TRY(domain::receiveDomain(domain, std::move(receive)));
    if (virFDStreamOpen(tunnel, pipe.writeEnd.get()) < 0) {
        base::Error error = conf::takeLibvirtError();
        discard(domain);
        return error;
    }
    (void)pipe.writeEnd.release();
    return {};
}

/// Everything of Prepare that happens with the job held.
static Result<Cookie> startReceiving(Domain &domain, const Request &request, const Incoming &incoming,
                                     Endpoint &endpoint)
{
    Cookie reply = TRY(makeCookie(domain));
    reply.streamVersion = incoming.chosen.streamVersionMax;
    reply.extension->abilities = incoming.chosen;
    hypervisor::ReceiveRequest receive;
    receive.streamVersion = incoming.chosen.streamVersionMax;
    receive.connections = incoming.chosen.channels;
    const conf::Settings &settings = domain.host().settings();
    if (incoming.chosen.tls)
        receive.tls = hypervisor::TlsSettings{settings.tlsDirectory, settings.tlsVerify, {}};
    if (request.tunnel) {
        TRY(receiveFromTunnel(domain, request.tunnel, std::move(receive)));
        return reply;
    }
    if (incoming.fromOurs)
        reply.extension->secret = receive.secret = TRY(makeSecret());
    TRY(receiveOnPort(domain, request, std::move(receive),
                      incoming.cookie.extension && incoming.cookie.extension->question, endpoint));
    return reply;
}

/// An offline migration: the definition is here, Finish will keep it.
static Result<Cookie> awaitFinish(Domain &domain)
{
    domain.data().phase = MigrationPhase::Receive;
    return makeCookie(domain);
}

/// Where the source shall connect; the port is known later.
static Result<Endpoint> whereToConnect(const Host &host, const Request &request)
{
    if (!request.uri.empty())
        return Endpoint::parse(request.uri.c_str());
    Endpoint endpoint;
    if (isOffline(request))
        endpoint.host = TRY(hostname());   // libvirt's client wants one, and uses it for nothing
    else if (!request.tunnel)
        endpoint.host = TRY(ownHost(host));
    return endpoint;
}

Result<PrepareReply> prepare(Host &host, const Request &request, Incoming incoming)
{
    Endpoint endpoint = TRY(whereToConnect(host, request));
    Domain domain = TRY(domain::addDomain(host, std::move(incoming.def),
                                          VIR_DOMAIN_OBJ_LIST_ADD_LIVE | VIR_DOMAIN_OBJ_LIST_ADD_CHECK_LIVE));
    auto job = AsyncJob::begin(domain, VIR_ASYNC_JOB_MIGRATION_IN, VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN,
                               request.flags);
    if (!job) {
        domain::dropLiveDefinition(domain);
        return std::move(job).error();
    }
    auto cookie = isOffline(request) ? awaitFinish(domain) : startReceiving(domain, request, incoming, endpoint);
    if (!cookie) {
        domain::dropLiveDefinition(domain);
        return std::move(cookie).error().in(strprintf(tr("preparing for '%s'"), domain.def()->name));
    }
    if (incoming.cookie.extension)
        domain.data().persistentXml = incoming.cookie.extension->persistentXml;
    virCloseCallbacksDomainAdd(domain.object(), request.connection, destinationClosed);
    (*job)->keep();
    return PrepareReply{request.tunnel ? std::string() : endpoint.uri(), std::move(cookie).value()};
}

/// PERSIST_DEST: store the definition that the source sent, or the live one. Answers the one that
/// it takes the place of, if any.
static Result<conf::DomainDef> persist(Domain &domain)
{
    Host &host = domain.host();
    virDomainObj *object = domain.object();
    conf::DomainDef def;
    if (!domain.data().persistentXml.empty()) {
        def = TRY(host.parse(domain.data().persistentXml.c_str(),
                             VIR_DOMAIN_DEF_PARSE_INACTIVE | VIR_DOMAIN_DEF_PARSE_SKIP_VALIDATE));
        g_free(def->name);
        def->name = g_strdup(domain.def()->name);
        memcpy(def->uuid, domain.def()->uuid, VIR_UUID_BUFLEN);
    } else {
        def.reset(virDomainDefCopy(domain.def(), host.xmlOption(), nullptr, true));
    }
    if (!def || virDomainDefSave(def.get(), host.xmlOption(), host.settings().configDir.c_str()) < 0)
        return conf::takeLibvirtError();
    conf::DomainDef replaced(object->newDef);
    object->newDef = def.release();
    object->persistent = 1;
    return replaced;
}

/// The opposite of persist().
static void unpersist(Domain &domain, conf::DomainDef replaced)
{
    Host &host = domain.host();
    virDomainObj *object = domain.object();
    const std::string &folder = host.settings().configDir;
    if (replaced) {
        if (virDomainDefSave(replaced.get(), host.xmlOption(), folder.c_str()) < 0)
            log(LogLevel::Error, "%s", conf::takeLibvirtError().message.c_str());
    } else {
        virDomainDeleteConfig(folder.c_str(), host.settings().autostartDir.c_str(), object);
        object->persistent = 0;
    }
    virDomainDefFree(object->newDef);
    object->newDef = replaced.release();
}

static void tellPersisted(const Domain &domain, const conf::DomainDef &replaced)
{
    domain.queueLifecycle(VIR_DOMAIN_EVENT_DEFINED,
                          replaced ? VIR_DOMAIN_EVENT_DEFINED_UPDATED : VIR_DOMAIN_EVENT_DEFINED_ADDED);
}

/// The guest is whole: make it ours. Answers the transfer's figures.
static Result<hypervisor::TransferProgress> takeOver(Domain &domain, const Request &request, AsyncJob &job)
{
    auto guest = TRY(domain.guest());
    auto figures = TRY(domain.unlocked([&] { return guest->finishReceiving(&job); }));
    TRY(domain.requireActive());
    const bool persists = request.flags & VIR_MIGRATE_PERSIST_DEST;
    conf::DomainDef replaced;
    Rollback rollback;
    if (persists) {
        replaced = TRY(persist(domain));
        rollback.onFailure([&] { unpersist(domain, std::move(replaced)); });
    }
    const auto witness = domain.data().witness;
    if (witness)
        witness->record(Verdict::Started);
    domain::StartReason reason;
    reason.runningReason = VIR_DOMAIN_RUNNING_MIGRATED;
    reason.startedDetail = VIR_DOMAIN_EVENT_STARTED_MIGRATED;
    TRY(domain::launchReceived(domain, request.flags & VIR_MIGRATE_PAUSED, reason));
    if (!(request.flags & VIR_MIGRATE_PAUSED))
        domain.queueLifecycle(VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_MIGRATED);
    rollback.commit();
    if (persists)
        tellPersisted(domain, replaced);
    domain.data().witness.reset();
    if (witness)
        witness->testify(Verdict::Started, domain.host().background());
    return figures;
}

/// Why nothing came of an incoming guest that the source gave up: its own failure, where it had
/// failed before. A tunnel tells the source nothing of that.
static base::Error whyCancelled(Domain &domain)
{
    if (auto guest = domain.guest()) {
        (void)(*guest)->abortTransfer().has_value();
        auto outcome = domain.unlocked([&] { return (*guest)->finishReceiving(nullptr); });
        if (!outcome && outcome.error().code != ErrorCode::Aborted)
            return std::move(outcome).error();
    }
    return makeError(ErrorCode::Aborted, tr("the migration of '%s' was cancelled"), domain.def()->name);
}

/// The definition of an offline migration becomes a persistent one.
static Result<Cookie> finishOffline(Domain &domain, bool cancelled)
{
    Result<conf::DomainDef> kept =
        cancelled ? makeError(ErrorCode::OperationFailed, tr("the migration of '%s' was cancelled"), domain.def()->name)
                  : persist(domain);
    if (kept)
        tellPersisted(domain, *kept);
    discard(domain);   // what is left of it beside the persistent one
    if (!kept)
        return std::move(kept).error();
    return makeCookie(domain);
}

Result<Cookie> finish(Domain &domain, const Request &request, const Cookie &fromSource, bool cancelled)
{
    using namespace std::chrono;
    const auto begin = steady_clock::now();
    auto job = TRY(AsyncJob::resume(domain, VIR_ASYNC_JOB_MIGRATION_IN));
    virCloseCallbacksDomainRemove(domain.object(), request.connection, destinationClosed);
    if (isOffline(request))
        return finishOffline(domain, cancelled);
    Result<hypervisor::TransferProgress> taken =
        cancelled ? Result<hypervisor::TransferProgress>(whyCancelled(domain)) : takeOver(domain, request, *job);
    if (!taken) {
        job->fail(taken.error());
        discard(domain);
        return std::move(taken).error();
    }
    const auto took = duration_cast<milliseconds>(steady_clock::now() - begin);
    const auto before = fromSource.extension ? fromSource.extension->stoodStill : std::nullopt;
    taken->downtime = before ? static_cast<uint64_t>((*before + took).count()) : 0;
    if (fromSource.extension && fromSource.extension->rounds)
        taken->iteration = *fromSource.extension->rounds;
    job->complete(*taken);
    // The guest runs: nothing may fail any more.
    auto reply = makeCookie(domain);
    if (!reply)
        return Cookie();
    reply->extension->stoodStill = took;
    return reply;
}

} // namespace godwit::migration
