// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// Every API function we offer, by file. table.cpp puts them into libvirt's table.

#include "conf/libvirt.h"

namespace godwit::driver {

/// Each api_*.cpp fills its part of libvirt's table.
void fillConnectionApi(virHypervisorDriver &table);
void fillLifecycleApi(virHypervisorDriver &table);
void fillListApi(virHypervisorDriver &table);
void fillDefinitionApi(virHypervisorDriver &table);
void fillResourcesApi(virHypervisorDriver &table);
void fillQueryApi(virHypervisorDriver &table);
void fillStatsApi(virHypervisorDriver &table);
void fillDeviceApi(virHypervisorDriver &table);
void fillConsoleApi(virHypervisorDriver &table);
void fillImageApi(virHypervisorDriver &table);
void fillJobApi(virHypervisorDriver &table);
void fillMigrationApi(virHypervisorDriver &table);
void fillSchedulerApi(virHypervisorDriver &table);
void fillUsageApi(virHypervisorDriver &table);
void fillDumpApi(virHypervisorDriver &table);
void fillNodeApi(virHypervisorDriver &table);
void fillNodeDeviceApi(virHypervisorDriver &table);

} // namespace godwit::driver
