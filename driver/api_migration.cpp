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
        {VIR_MIGRATE_PEER2PEER, "peer-to-peer"},
        {VIR_MIGRATE_TUNNELLED, "tunnelled"},
        {VIR_MIGRATE_NON_SHARED_DISK, "copy of non-shared storage"},
        {VIR_MIGRATE_NON_SHARED_INC, "incremental copy of non-shared storage"},
        {VIR_MIGRATE_OFFLINE, "offline"},
        {VIR_MIGRATE_COMPRESSED, "compressed"},
        {VIR_MIGRATE_RDMA_PIN_ALL, "RDMA"},
        {VIR_MIGRATE_POSTCOPY, "post-copy"},
        {VIR_MIGRATE_TLS, "TLS"},
        {VIR_MIGRATE_PARALLEL, "parallel"},
        {VIR_MIGRATE_AUTO_CONVERGE, "auto-converging"},
        {VIR_MIGRATE_ZEROCOPY, "zero-copy"},
    };
    for (const auto &[flag, name] : names) {
        if (flags & flag)
            return name;
    }
    return nullptr;
}

static Result<std::string> text(virTypedParameterPtr parameters, int count, const char *name)
{
    const char *value = nullptr;
    TRY(conf::check(virTypedParamsGetString(parameters, count, name, &value)));
    return std::string(value ? value : "");
}

/// Flags and parameters, checked.
static Result<Request> readRequest(virConnectPtr connection, virTypedParameterPtr parameters, int count, unsigned flags)
{
    if (const char *name = unsupportedFlag(flags))
        return makeError(ErrorCode::Unsupported, tr("%s migration is not supported"), tr(name));
    TRY(checkFlags(flags, migration::supportedFlags));
    TRY(conf::check(virTypedParamsValidate(
        parameters, count, VIR_MIGRATE_PARAM_URI, VIR_TYPED_PARAM_STRING, VIR_MIGRATE_PARAM_DEST_NAME,
        VIR_TYPED_PARAM_STRING, VIR_MIGRATE_PARAM_DEST_XML, VIR_TYPED_PARAM_STRING, VIR_MIGRATE_PARAM_PERSIST_XML,
        VIR_TYPED_PARAM_STRING, VIR_MIGRATE_PARAM_LISTEN_ADDRESS, VIR_TYPED_PARAM_STRING, VIR_MIGRATE_PARAM_BANDWIDTH, VIR_TYPED_PARAM_ULLONG, nullptr)));
    Request request;
    request.flags = flags;
    request.connection = connection;
    request.uri = TRY(text(parameters, count, VIR_MIGRATE_PARAM_URI));
    request.listenAddress = TRY(text(parameters, count, VIR_MIGRATE_PARAM_LISTEN_ADDRESS));
    request.name = TRY(text(parameters, count, VIR_MIGRATE_PARAM_DEST_NAME));
    request.xml = TRY(text(parameters, count, VIR_MIGRATE_PARAM_DEST_XML));
    request.persistentXml = TRY(text(parameters, count, VIR_MIGRATE_PARAM_PERSIST_XML));
    unsigned long long mebibytes = 0;
    TRY(conf::check(virTypedParamsGetULLong(parameters, count, VIR_MIGRATE_PARAM_BANDWIDTH, &mebibytes)));
    if (mebibytes > UINT64_MAX / base::MiB)
        return makeError(ErrorCode::InvalidArgument, tr("bandwidth must be less than %llu"),
                         static_cast<unsigned long long>(UINT64_MAX / base::MiB));
    request.bandwidth = mebibytes * base::MiB;
    return request;
}

static void giveCookie(const migration::Cookie &cookie, char **out, int *length)
{
    const std::string xml = migration::formatCookie(cookie);
    *out = g_strdup(xml.c_str());
    *length = static_cast<int>(xml.size() + 1);
}

static Result<conf::Text> begin(virDomainPtr handle, virTypedParameterPtr parameters, int count, char **cookieOut,
                                int *cookieOutLength, unsigned flags)
{
    const Request request = TRY(readRequest(handle->conn, parameters, count, flags));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainMigrateBegin3ParamsEnsureACL>(handle, domain));
    migration::BeginReply reply = TRY(migration::begin(domain, request));
    giveCookie(reply.cookie, cookieOut, cookieOutLength);
    return conf::Text(g_strdup(reply.xml.c_str()));
}

static Result<void> prepare(virConnectPtr connection, virTypedParameterPtr parameters, int count, const char *cookieIn,
                            int cookieInLength, char **cookieOut, int *cookieOutLength, char **uriOut, unsigned flags)
{
    const Request request = TRY(readRequest(connection, parameters, count, flags));
    auto incoming = TRY(migration::readIncoming(hostOf(connection), request, cookieIn, cookieInLength));
    TRY(conf::check(virDomainMigratePrepare3ParamsEnsureACL(connection, incoming.def.get())));
    auto reply = TRY(migration::prepare(hostOf(connection), request, std::move(incoming)));
    giveCookie(reply.cookie, cookieOut, cookieOutLength);
    *uriOut = g_strdup(reply.uri.c_str());
    return {};
}

/// The other side's cookie; empty where it sent none.
static Result<migration::Cookie> readCookie(const char *cookie, int length)
{
    if (!cookie || length <= 0)
        return migration::Cookie();
    return migration::parseCookie(cookie, length);
}

static Result<void> perform(virDomainPtr handle, const char *, virTypedParameterPtr parameters, int count,
                            const char *cookieIn, int cookieInLength, char **cookieOut, int *cookieOutLength,
                            unsigned flags)
{
    const Request request = TRY(readRequest(handle->conn, parameters, count, flags));
    const migration::Cookie destination = TRY(readCookie(cookieIn, cookieInLength));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainMigratePerform3ParamsEnsureACL>(handle, domain));
    giveCookie(TRY(migration::perform(domain, request, destination)), cookieOut, cookieOutLength);
    return {};
}

static Result<virDomainPtr> finish(virConnectPtr connection, virTypedParameterPtr parameters, int count,
                                   const char *cookieIn, int cookieInLength, char **cookieOut, int *cookieOutLength,
                                   unsigned flags, int cancelled)
{
    const Request request = TRY(readRequest(connection, parameters, count, flags));
    Domain domain = TRY(Domain::byName(hostOf(connection), request.name.c_str()));
    TRY(conf::check(virDomainMigrateFinish3ParamsEnsureACL(connection, domain.def())));
    // A cookie that cannot be read is no reason to lose a guest that is whole.
    const auto source = readCookie(cookieIn, cookieInLength);
    const auto reply = TRY(migration::finish(domain, request, source ? *source : migration::Cookie(), cancelled != 0));
    giveCookie(reply, cookieOut, cookieOutLength);
    return conf::check(virGetDomain(connection, domain.def()->name, domain.def()->uuid, domain.def()->id));
}

static Result<void> confirm(virDomainPtr handle, virTypedParameterPtr parameters, int count, const char *cookieIn,
                            int cookieInLength, unsigned flags, int cancelled)
{
    const Request request = TRY(readRequest(handle->conn, parameters, count, flags));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainMigrateConfirm3ParamsEnsureACL>(handle, domain));
    const auto destination = readCookie(cookieIn, cookieInLength);
    return migration::confirm(domain, request, destination ? *destination : migration::Cookie(), cancelled != 0);
}

void fillMigrationApi(virHypervisorDriver &table)
{
    table.domainMigrateBegin3Params = entry<begin>;
    table.domainMigratePrepare3Params = entry<prepare>;
    table.domainMigratePerform3Params = entry<perform>;
    table.domainMigrateFinish3Params = entry<finish>;
    table.domainMigrateConfirm3Params = entry<confirm>;
}

} // namespace godwit::driver
