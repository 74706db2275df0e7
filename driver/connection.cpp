// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/connection.h"

#include "driver/api.h"
#include "driver/entry.h"
#include "driver/module.h"

namespace godwit::driver {

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::tr;
using domain::Host;

Result<void> checkFlags(unsigned flags, unsigned supported)
{
    if (const unsigned unknown = flags & ~supported)
        return makeError(ErrorCode::InvalidArgument, tr("unsupported flags (0x%x)"), unknown);
    return {};
}

static Result<void> open(virConnectPtr connection)
{
    TRY(access<virConnectOpenEnsureACL>(connection));
    auto host = TRY(hostFor(connection));
    connection->privateData = new Connection{std::move(host)};
    return {};
}

static virDrvOpenStatus connectOpen(virConnectPtr connection, virConnectAuthPtr, virConf *, unsigned flags) noexcept
{
    if (entry<checkFlags>(flags, VIR_CONNECT_RO) < 0 || entry<open>(connection) < 0)
        return VIR_DRV_OPEN_ERROR;
    return VIR_DRV_OPEN_SUCCESS;
}

static Result<void> connectClose(virConnectPtr connection)
{
    virCloseCallbacksDomainRunForConn(hostOf(connection).domains(), connection);
    const std::unique_ptr<Connection> ours(
        static_cast<Connection *>(std::exchange(connection->privateData, nullptr)));
    releaseHost(std::move(ours->host));
    return {};
}

static Result<int> supportsFeature(virConnectPtr connection, int feature)
{
    TRY(access<virConnectSupportsFeatureEnsureACL>(connection));
    int supported = 0;
    if (virDriverFeatureIsGlobal(static_cast<virDrvFeature>(feature), &supported))
        return supported;
    switch (feature) {
    case VIR_DRV_FEATURE_MIGRATION_P2P:
    case VIR_DRV_FEATURE_MIGRATION_OFFLINE:
    case VIR_DRV_FEATURE_MIGRATION_V3:
    case VIR_DRV_FEATURE_MIGRATION_PARAMS:
    case VIR_DRV_FEATURE_MIGRATE_CHANGE_PROTECTION:
    case VIR_DRV_FEATURE_XML_MIGRATABLE:
        return 1;
    default:
        return 0;
    }
}

static Result<int> isAlive(virConnectPtr)
{
    return 1;
}

/// Nothing crosses a wire between a client and a driver in the same process.
static Result<int> isSecure(virConnectPtr)
{
    return 1;
}

static Result<int> isEncrypted(virConnectPtr)
{
    return 0;
}

void fillConnectionApi(virHypervisorDriver &table)
{
    table.connectOpen = connectOpen;
    table.connectClose = entry<connectClose>;
    table.connectSupportsFeature = entry<supportsFeature>;
    table.connectIsAlive = entry<isAlive>;
    table.connectIsSecure = entry<isSecure>;
    table.connectIsEncrypted = entry<isEncrypted>;
}

} // namespace godwit::driver
