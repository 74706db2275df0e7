// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/api.h"
#include "driver/module.h"

namespace godwit::driver {

/// One driver, under the name of the hypervisor it drives.
static virHypervisorDriver makeTable(const char *name)
{
    virHypervisorDriver table{};
    table.name = name;
    fillConnectionApi(table);
    fillLifecycleApi(table);
    fillListApi(table);
    fillDefinitionApi(table);
    fillResourcesApi(table);
    fillQueryApi(table);
    fillStatsApi(table);
    fillDeviceApi(table);
    fillConsoleApi(table);
    fillImageApi(table);
    fillJobApi(table);
    fillMigrationApi(table);
    fillSchedulerApi(table);
    fillUsageApi(table);
    fillDumpApi(table);
    fillNodeApi(table);
    fillNodeDeviceApi(table);
    return table;
}

static virHypervisorDriver apiTable = makeTable("godwit");
static virHypervisorDriver xenTable = makeTable("Xen");
static const char *schemes[] = {"godwit", nullptr};
static const char *xenSchemes[] = {"xen", nullptr};

virConnectDriver connectDriver = {
    .localOnly = true,
    .embeddable = true,
    .uriSchemes = schemes,
    .hypervisorDriver = &apiTable,
};

virConnectDriver xenConnectDriver = {
    .localOnly = true,
    .uriSchemes = xenSchemes,
    .hypervisorDriver = &xenTable,
};

} // namespace godwit::driver
