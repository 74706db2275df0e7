// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/entry.h"
#include "driver/module.h"
#include "hypervisor/xen/xen_host.h"

namespace godwit::driver {

/// xen:///system: claimed, so that no client is told "no driver", and answered truly.
static virDrvOpenStatus openXen(virConnectPtr, virConnectAuthPtr, virConf *, unsigned) noexcept
{
    conf::raise(hypervisor::xenUnavailable());
    return VIR_DRV_OPEN_ERROR;
}

static virHypervisorDriver xenTable = {
    .name = "Xen",
    .connectOpen = openXen,
};

static const char *xenSchemes[] = {"xen", nullptr};

virConnectDriver xenConnectDriver = {
    .localOnly = true,
    .uriSchemes = xenSchemes,
    .hypervisorDriver = &xenTable,
};

} // namespace godwit::driver
