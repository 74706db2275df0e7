// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/units.h"
#include "driver/api.h"
#include "driver/connection.h"
#include "driver/entry.h"
#include "migration/phases.h"

namespace godwit::driver {

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::tr;
using domain::Domain;
using migration::Request;

/// Names of flags that libvirt has and we do not, for the error.
static const char *unsupportedFlag(unsigned flags)
{
    static constexpr std::pair<unsigned, const char *> names[] = {
        {VIR_MIGRATE_NON_SHARED_DISK, "copy of non-shared storage"},
        {VIR_MIGRATE_NON_SHARED_INC, "incremental copy of non-shared storage"},
        {VIR_MIGRATE_NON_SHARED_SYNCHRONOUS_WRITES, "synchronous copy of non-shared storage"},
        {VIR_MIGRATE_COMPRESSED, "compressed"},
        {VIR_MIGRATE_RDMA_PIN_ALL, "RDMA"},
        {VIR_MIGRATE_POSTCOPY, "post-copy"},
        {VIR_MIGRATE_POSTCOPY_RESUME, "resumed post-copy"},
        {VIR_MIGRATE_AUTO_CONVERGE, "auto-converging"},
        {VIR_MIGRATE_ZEROCOPY, "zero-copy"},
    };
    for (const auto &[flag, name] : names) {
        if (flags & flag)
            return name;
    }
    return nullptr;
}

/// Names of parameters that libvirt has and we do not, for the error.
static const char *unsupportedParameter(virTypedParameterPtr parameters, int count)
{
    static constexpr std::pair<const char *, const char *> names[] = {
        {VIR_MIGRATE_PARAM_MIGRATE_DISKS, "copy of non-shared storage"},
        {VIR_MIGRATE_PARAM_DISKS_PORT, "copy of non-shared storage"},
        {VIR_MIGRATE_PARAM_DISKS_URI, "copy of non-shared storage"},
        {VIR_MIGRATE_PARAM_COMPRESSION, "compressed"},
        {VIR_MIGRATE_PARAM_COMPRESSION_MT_LEVEL, "compressed"},
        {VIR_MIGRATE_PARAM_COMPRESSION_MT_THREADS, "compressed"},
        {VIR_MIGRATE_PARAM_COMPRESSION_MT_DTHREADS, "compressed"},
        {VIR_MIGRATE_PARAM_COMPRESSION_XBZRLE_CACHE, "compressed"},
        {VIR_MIGRATE_PARAM_AUTO_CONVERGE_INITIAL, "auto-converging"},
        {VIR_MIGRATE_PARAM_AUTO_CONVERGE_INCREMENT, "auto-converging"},
        {VIR_MIGRATE_PARAM_BANDWIDTH_POSTCOPY, "post-copy"},
    };
    for (const auto &[parameter, name] : names) {
        if (virTypedParamsGet(parameters, count, parameter))
            return name;
    }
    return nullptr;
}

static constexpr unsigned defaultConnections = 2;   // of a parallel migration, as QEMU's

/// What every migration call has: who asks, and how.
static Result<Request> makeRequest(virConnectPtr connection, unsigned long flags)
{
    const auto given = static_cast<unsigned>(flags);
    if (given != flags)
        return makeError(ErrorCode::InvalidArgument, tr("unsupported flags (0x%lx)"), flags);
    if (const char *name = unsupportedFlag(given))
        return makeError(ErrorCode::Unsupported, tr("%s migration is not supported"), tr(name));
    TRY(checkFlags(given, migration::supportedFlags));
    if (given & VIR_MIGRATE_PARALLEL && given & VIR_MIGRATE_TUNNELLED)
        return makeError(ErrorCode::Unsupported, "%s", tr("parallel migration cannot be tunnelled"));
    if (given & VIR_MIGRATE_TLS && given & VIR_MIGRATE_TUNNELLED)
        return makeError(ErrorCode::Unsupported, "%s", tr("a tunnelled migration is encrypted as its tunnel is, not by --tls"));
    Request request;
    request.flags = given;
    if (given & VIR_MIGRATE_PARALLEL)
        request.connections = defaultConnections;
    request.connection = connection;
    return request;
}

static Result<void> setBandwidth(Request &request, unsigned long long mebibytes)
{
    if (mebibytes > UINT64_MAX / base::MiB)
        return makeError(ErrorCode::InvalidArgument, tr("bandwidth must be less than %llu"),
                         static_cast<unsigned long long>(UINT64_MAX / base::MiB));
    request.bandwidth = mebibytes * base::MiB;
    return {};
}

static Result<std::string> text(virTypedParameterPtr parameters, int count, const char *name)
{
    const char *value = nullptr;
    TRY(conf::check(virTypedParamsGetString(parameters, count, name, &value)));
    return std::string(value ? value : "");
}

static std::string text(const char *value)
{
    return value ? value : "";
}

/// How many data connections are asked for.
static Result<unsigned> readConnections(virTypedParameterPtr parameters, int count, const Request &request)
{
    int connections = 0;
    const int given = virTypedParamsGetInt(parameters, count, VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS, &connections);
    TRY(conf::check(given));
    if (given == 0)
        return request.connections;
    if (!(request.flags & VIR_MIGRATE_PARALLEL))
        return makeError(ErrorCode::InvalidArgument, "%s",
                         tr("a number of connections is for parallel migration, which was not asked for"));
    if (connections < 1 || connections > static_cast<int>(migration::maxConnections))
        return makeError(ErrorCode::InvalidArgument, tr("parallel migration takes 1 to %u connections, not %d"),
                         migration::maxConnections, connections);
    return static_cast<unsigned>(connections);
}

/// Flags and parameters, checked.
static Result<Request> readRequest(virConnectPtr connection, virTypedParameterPtr parameters, int count, unsigned flags)
{
    Request request = TRY(makeRequest(connection, flags));
    if (const char *name = unsupportedParameter(parameters, count))
        return makeError(ErrorCode::Unsupported, tr("%s migration is not supported"), tr(name));
    TRY(conf::check(virTypedParamsValidate(
        parameters, count, VIR_MIGRATE_PARAM_URI, VIR_TYPED_PARAM_STRING, VIR_MIGRATE_PARAM_DEST_NAME,
        VIR_TYPED_PARAM_STRING, VIR_MIGRATE_PARAM_DEST_XML, VIR_TYPED_PARAM_STRING, VIR_MIGRATE_PARAM_PERSIST_XML,
        VIR_TYPED_PARAM_STRING, VIR_MIGRATE_PARAM_LISTEN_ADDRESS, VIR_TYPED_PARAM_STRING,
        VIR_MIGRATE_PARAM_GRAPHICS_URI, VIR_TYPED_PARAM_STRING, VIR_MIGRATE_PARAM_BANDWIDTH, VIR_TYPED_PARAM_ULLONG,
        VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS, VIR_TYPED_PARAM_INT, VIR_MIGRATE_PARAM_TLS_DESTINATION,
        VIR_TYPED_PARAM_STRING, nullptr)));
    request.uri = TRY(text(parameters, count, VIR_MIGRATE_PARAM_URI));
    request.listenAddress = TRY(text(parameters, count, VIR_MIGRATE_PARAM_LISTEN_ADDRESS));
    request.name = TRY(text(parameters, count, VIR_MIGRATE_PARAM_DEST_NAME));
    request.xml = TRY(text(parameters, count, VIR_MIGRATE_PARAM_DEST_XML));
    request.persistentXml = TRY(text(parameters, count, VIR_MIGRATE_PARAM_PERSIST_XML));
    request.tlsDestination = TRY(text(parameters, count, VIR_MIGRATE_PARAM_TLS_DESTINATION));
    request.graphicsUri = TRY(text(parameters, count, VIR_MIGRATE_PARAM_GRAPHICS_URI));
    unsigned long long mebibytes = 0;
    TRY(conf::check(virTypedParamsGetULLong(parameters, count, VIR_MIGRATE_PARAM_BANDWIDTH, &mebibytes)));
    TRY(setBandwidth(request, mebibytes));
    request.connections = TRY(readConnections(parameters, count, request));
    return request;
}

static void giveCookie(const migration::Cookie &cookie, char **out, int *length)
{
    const std::string xml = migration::formatCookie(cookie);
    *out = g_strdup(xml.c_str());
    *length = static_cast<int>(xml.size() + 1);
}

/// The other side's cookie; empty where it sent none.
static Result<migration::Cookie> readCookie(const char *cookie, int length)
{
    if (!cookie || length <= 0)
        return migration::Cookie();
    return migration::parseCookie(cookie, length);
}

// ---- the phases, however they were asked for --------------------------------------------

template <auto Access>
static Result<conf::Text> beginWith(virDomainPtr handle, const Request &request, char **cookieOut, int *cookieOutLength)
{
    Domain domain = TRY(findDomain(handle));
    TRY(access<Access>(handle, domain));
    migration::BeginReply reply = TRY(migration::begin(domain, request));
    giveCookie(reply.cookie, cookieOut, cookieOutLength);
    return conf::Text(g_strdup(reply.xml.c_str()));
}

template <auto Access>
static Result<void> prepareWith(virConnectPtr connection, const Request &request, const char *cookieIn,
                                int cookieInLength, char **cookieOut, int *cookieOutLength, char **uriOut)
{
    if (static_cast<bool>(request.flags & VIR_MIGRATE_TUNNELLED) != static_cast<bool>(request.tunnel))
        return makeError(ErrorCode::InvalidArgument, "%s", tr("a tunnelled migration is prepared with a stream, "
                                                               "any other without"));
    auto incoming = TRY(migration::readIncoming(hostOf(connection), request, cookieIn, cookieInLength));
    TRY(conf::check(Access(connection, incoming.def.get())));
    const bool fromOurs = incoming.fromOurs;
    auto reply = TRY(migration::prepare(hostOf(connection), request, std::move(incoming)));
    // A stock source takes none: peer-to-peer, it fails when it gets one.
    if (fromOurs)
        giveCookie(reply.cookie, cookieOut, cookieOutLength);
    if (uriOut)
        *uriOut = g_strdup(reply.uri.c_str());
    return {};
}

template <auto Access>
static Result<void> performWith(virDomainPtr handle, const Request &request, const char *cookieIn, int cookieInLength,
                                char **cookieOut, int *cookieOutLength)
{
    const migration::Cookie destination = TRY(readCookie(cookieIn, cookieInLength));
    Domain domain = TRY(findDomain(handle));
    TRY(access<Access>(handle, domain));
    if (request.flags & VIR_MIGRATE_PEER2PEER)
        return migration::migrateToPeer(domain, request);
    if (request.flags & VIR_MIGRATE_TUNNELLED)
        return makeError(ErrorCode::InvalidArgument, "%s", tr("only a peer-to-peer migration can be tunnelled"));
    giveCookie(TRY(migration::perform(domain, request, destination)), cookieOut, cookieOutLength);
    return {};
}

template <auto Access>
static Result<virDomainPtr> finishWith(virConnectPtr connection, const Request &request, const char *cookieIn,
                                       int cookieInLength, char **cookieOut, int *cookieOutLength, bool cancelled)
{
    Domain domain = TRY(Domain::byName(hostOf(connection), request.name.c_str()));
    TRY(conf::check(Access(connection, domain.def())));
    // A cookie that cannot be read is no reason to lose a guest that is whole.
    const auto source = readCookie(cookieIn, cookieInLength);
    const auto reply = TRY(migration::finish(domain, request, source ? *source : migration::Cookie(), cancelled));
    if (source && source->extension)
        giveCookie(reply, cookieOut, cookieOutLength);
    return conf::check(virGetDomain(connection, domain.def()->name, domain.def()->uuid, domain.def()->id));
}

template <auto Access>
static Result<void> confirmWith(virDomainPtr handle, const Request &request, const char *cookieIn, int cookieInLength,
                                bool cancelled)
{
    Domain domain = TRY(findDomain(handle));
    TRY(access<Access>(handle, domain));
    const auto destination = readCookie(cookieIn, cookieInLength);
    return migration::confirm(domain, request, destination ? *destination : migration::Cookie(), cancelled);
}

// ---- with typed parameters --------------------------------------------------------------

static Result<conf::Text> begin(virDomainPtr handle, virTypedParameterPtr parameters, int count, char **cookieOut,
                                int *cookieOutLength, unsigned flags)
{
    const Request request = TRY(readRequest(handle->conn, parameters, count, flags));
    return beginWith<virDomainMigrateBegin3ParamsEnsureACL>(handle, request, cookieOut, cookieOutLength);
}

static Result<void> prepare(virConnectPtr connection, virTypedParameterPtr parameters, int count, const char *cookieIn,
                            int cookieInLength, char **cookieOut, int *cookieOutLength, char **uriOut, unsigned flags)
{
    const Request request = TRY(readRequest(connection, parameters, count, flags));
    return prepareWith<virDomainMigratePrepare3ParamsEnsureACL>(connection, request, cookieIn, cookieInLength,
                                                                cookieOut, cookieOutLength, uriOut);
}

static Result<void> prepareTunnel(virConnectPtr connection, virStreamPtr stream, virTypedParameterPtr parameters,
                                  int count, const char *cookieIn, int cookieInLength, char **cookieOut,
                                  int *cookieOutLength, unsigned flags)
{
    Request request = TRY(readRequest(connection, parameters, count, flags));
    request.tunnel = stream;
    return prepareWith<virDomainMigratePrepareTunnel3ParamsEnsureACL>(connection, request, cookieIn, cookieInLength,
                                                                      cookieOut, cookieOutLength, nullptr);
}

static Result<void> perform(virDomainPtr handle, const char *peerUri, virTypedParameterPtr parameters, int count,
                            const char *cookieIn, int cookieInLength, char **cookieOut, int *cookieOutLength,
                            unsigned flags)
{
    Request request = TRY(readRequest(handle->conn, parameters, count, flags));
    request.peerUri = text(peerUri);
    return performWith<virDomainMigratePerform3ParamsEnsureACL>(handle, request, cookieIn, cookieInLength, cookieOut,
                                                                cookieOutLength);
}

static Result<virDomainPtr> finish(virConnectPtr connection, virTypedParameterPtr parameters, int count,
                                   const char *cookieIn, int cookieInLength, char **cookieOut, int *cookieOutLength,
                                   unsigned flags, int cancelled)
{
    const Request request = TRY(readRequest(connection, parameters, count, flags));
    return finishWith<virDomainMigrateFinish3ParamsEnsureACL>(connection, request, cookieIn, cookieInLength, cookieOut,
                                                              cookieOutLength, cancelled != 0);
}

static Result<void> confirm(virDomainPtr handle, virTypedParameterPtr parameters, int count, const char *cookieIn,
                            int cookieInLength, unsigned flags, int cancelled)
{
    const Request request = TRY(readRequest(handle->conn, parameters, count, flags));
    return confirmWith<virDomainMigrateConfirm3ParamsEnsureACL>(handle, request, cookieIn, cookieInLength,
                                                                cancelled != 0);
}

// ---- without: what older clients call ---------------------------------------------------

static Result<conf::Text> beginOld(virDomainPtr handle, const char *xml, char **cookieOut, int *cookieOutLength,
                                   unsigned long flags, const char *name, unsigned long)
{
    Request request = TRY(makeRequest(handle->conn, flags));
    request.xml = text(xml);
    request.name = text(name);
    return beginWith<virDomainMigrateBegin3EnsureACL>(handle, request, cookieOut, cookieOutLength);
}

static Result<void> prepareOld(virConnectPtr connection, const char *cookieIn, int cookieInLength, char **cookieOut,
                               int *cookieOutLength, const char *uri, char **uriOut, unsigned long flags,
                               const char *name, unsigned long, const char *xml)
{
    Request request = TRY(makeRequest(connection, flags));
    request.uri = text(uri);
    request.name = text(name);
    request.xml = text(xml);
    return prepareWith<virDomainMigratePrepare3EnsureACL>(connection, request, cookieIn, cookieInLength, cookieOut,
                                                          cookieOutLength, uriOut);
}

static Result<void> prepareTunnelOld(virConnectPtr connection, virStreamPtr stream, const char *cookieIn,
                                     int cookieInLength, char **cookieOut, int *cookieOutLength, unsigned long flags,
                                     const char *name, unsigned long, const char *xml)
{
    Request request = TRY(makeRequest(connection, flags));
    request.tunnel = stream;
    request.name = text(name);
    request.xml = text(xml);
    return prepareWith<virDomainMigratePrepareTunnel3EnsureACL>(connection, request, cookieIn, cookieInLength,
                                                                cookieOut, cookieOutLength, nullptr);
}

static Result<void> performOld(virDomainPtr handle, const char *xml, const char *cookieIn, int cookieInLength,
                               char **cookieOut, int *cookieOutLength, const char *peerUri, const char *uri,
                               unsigned long flags, const char *name, unsigned long mebibytes)
{
    Request request = TRY(makeRequest(handle->conn, flags));
    request.xml = text(xml);
    request.peerUri = text(peerUri);
    request.uri = text(uri);
    request.name = text(name);
    TRY(setBandwidth(request, mebibytes));
    return performWith<virDomainMigratePerform3EnsureACL>(handle, request, cookieIn, cookieInLength, cookieOut,
                                                          cookieOutLength);
}

static Result<virDomainPtr> finishOld(virConnectPtr connection, const char *name, const char *cookieIn,
                                      int cookieInLength, char **cookieOut, int *cookieOutLength, const char *,
                                      const char *, unsigned long flags, int cancelled)
{
    Request request = TRY(makeRequest(connection, flags));
    request.name = text(name);
    return finishWith<virDomainMigrateFinish3EnsureACL>(connection, request, cookieIn, cookieInLength, cookieOut,
                                                        cookieOutLength, cancelled != 0);
}

static Result<void> confirmOld(virDomainPtr handle, const char *cookieIn, int cookieInLength, unsigned long flags,
                               int cancelled)
{
    const Request request = TRY(makeRequest(handle->conn, flags));
    return confirmWith<virDomainMigrateConfirm3EnsureACL>(handle, request, cookieIn, cookieInLength, cancelled != 0);
}

void fillMigrationApi(virHypervisorDriver &table)
{
    table.domainMigrateBegin3Params = entry<begin>;
    table.domainMigratePrepare3Params = entry<prepare>;
    table.domainMigratePrepareTunnel3Params = entry<prepareTunnel>;
    table.domainMigratePerform3Params = entry<perform>;
    table.domainMigrateFinish3Params = entry<finish>;
    table.domainMigrateConfirm3Params = entry<confirm>;
    table.domainMigrateBegin3 = entry<beginOld>;
    table.domainMigratePrepare3 = entry<prepareOld>;
    table.domainMigratePrepareTunnel3 = entry<prepareTunnelOld>;
    table.domainMigratePerform3 = entry<performOld>;
    table.domainMigrateFinish3 = entry<finishOld>;
    table.domainMigrateConfirm3 = entry<confirmOld>;
}

} // namespace godwit::driver
