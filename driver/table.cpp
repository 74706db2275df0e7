// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/api.h"
#include "driver/module.h"

namespace godwit::driver {

static virHypervisorDriver makeTable()
{
    virHypervisorDriver table{};
    table.name = "godwit";
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
    fillNodeApi(table);
    return table;
}

static virHypervisorDriver apiTable = makeTable();
static const char *schemes[] = {"godwit", nullptr};

virConnectDriver connectDriver = {
    .localOnly = true,
    .embeddable = true,
    .uriSchemes = schemes,
    .hypervisorDriver = &apiTable,
};

} // namespace godwit::driver
