// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "domain/domain.h"
#include "domain/host.h"

namespace godwit::driver {

/// What an open virConnect of ours holds: a share of its Host.
struct Connection {
    std::shared_ptr<domain::Host> host;
};

inline domain::Host &hostOf(virConnectPtr connection)
{
    return *static_cast<Connection *>(connection->privateData)->host;
}

inline domain::Host &hostOf(virDomainPtr handle)
{
    return hostOf(handle->conn);
}

/// The domain that `handle` names, locked until the end of its scope.
inline base::Result<domain::Domain> findDomain(virDomainPtr handle)
{
    return domain::Domain::byUuid(hostOf(handle), handle->uuid, handle->name);
}

/// Refuse flags that this function does not know, by their bits.
base::Result<void> checkFlags(unsigned flags, unsigned supported);
/// Does a change concern the running guest, its definition, or both?
inline constexpr unsigned impactFlags = VIR_DOMAIN_AFFECT_LIVE | VIR_DOMAIN_AFFECT_CONFIG;

/// A number in libvirt's convention (negative = failed, error raised) as a Result.
inline base::Result<int> number(int result)
{
    if (result < 0)
        return conf::takeLibvirtError();
    return result;
}
/// The same for text that the caller owns.
inline base::Result<conf::Text> text(char *result)
{
    if (!result)
        return conf::takeLibvirtError();
    return conf::Text(result);
}

/// One of libvirt's generated access checks, e.g. access<virDomainSuspendEnsureACL>(handle, domain).
template <auto Check>
base::Result<void> access(virDomainPtr handle, const domain::Domain &domain)
{
    return conf::check(Check(handle->conn, domain.def()));
}
template <auto Check>
base::Result<void> access(virDomainPtr handle, const domain::Domain &domain, unsigned flags)
{
    return conf::check(Check(handle->conn, domain.def(), flags));
}
template <auto Check>
base::Result<void> access(virConnectPtr connection)
{
    return conf::check(Check(connection));
}

} // namespace godwit::driver
