// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "conf/libvirt.h"
#include "domain/host.h"

namespace godwit::driver {

/// The Host of a connection URI: the daemon's own, or the embed root that it names, which
/// is opened at its first use and shared by all of this process's connections to it.
base::Result<std::shared_ptr<domain::Host>> hostFor(virConnectPtr connection);

/// Give a connection's share of its Host back. The last share of an embed root closes it,
/// before anyone else in this process opens it anew.
void releaseHost(std::shared_ptr<domain::Host> host);

/// Start a Host's autostart domains. Failures are logged.
void autostartDomains(domain::Host &host);

/// godwit:// in a daemon or embedded.
extern virConnectDriver connectDriver;
/// xen://, whose hypervisor is there only on a Xen host: elsewhere connecting says so.
extern virConnectDriver xenConnectDriver;
extern virStateDriver stateDriver;

} // namespace godwit::driver
