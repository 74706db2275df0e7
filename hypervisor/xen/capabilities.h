// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "conf/handle.h"
#include "hypervisor/xen/context.h"

namespace godwit::hypervisor::xen {

/// What the host and its guests can be, as libvirt's own driver tells it.
base::Result<conf::ObjectRef<virCaps>> makeCapabilities(Context &context);

/// Null arguments stand for the defaults: a PV guest of the host's architecture.
base::Result<conf::ObjectRef<virDomainCaps>> makeDomainCapabilities(const char *emulator, const char *arch,
                                                                    const char *machine, const char *virtType);

/// "xenpv", "xenpvh" or "xenfv".
const char *machineOf(int osType);

} // namespace godwit::hypervisor::xen
