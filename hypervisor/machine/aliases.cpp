// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/machine/definition.h"

#include "base/strprintf.h"
#include "hypervisor/machine/machine_type.h"

namespace godwit::hypervisor::machine {

using base::Result;
using base::strprintf;

/// The user's own name stays; anything else is ours to give, the same each time.
static void name(virDomainDeviceInfo &info, const std::string &alias)
{
    if (info.alias && virDomainDeviceAliasIsUserAlias(info.alias))
        return;
    g_free(info.alias);
    info.alias = g_strdup(alias.c_str());
}

static std::string diskAlias(const virDomainDiskDef *disk)
{
    const virDomainDeviceDriveAddress &drive = disk->info.addr.drive;
    if (disk->bus == VIR_DOMAIN_DISK_BUS_VIRTIO)
        return strprintf("virtio-disk%d", virDiskNameToIndex(disk->dst));
    return strprintf("%s%u-%u-%u", virDomainDiskBusTypeToString(disk->bus), drive.controller, drive.bus, drive.unit);
}

static std::string controllerAlias(const virDomainDef *def, const virDomainControllerDef *controller)
{
    const char *type = virDomainControllerTypeToString(controller->type);
    const int index = controller->idx;
    if (controller->type == VIR_DOMAIN_CONTROLLER_TYPE_PCI)
        return strprintf("%s.%d", isQ35(def) ? "pcie" : "pci", index);
    if (index == 0 && (controller->type == VIR_DOMAIN_CONTROLLER_TYPE_USB ||
                       controller->type == VIR_DOMAIN_CONTROLLER_TYPE_IDE))
        return type;
    return strprintf("%s%d", type, index);
}

Result<void> assignAliases(virDomainDef *def)
{
    for (size_t i = 0; i < def->ndisks; i++)
        name(def->disks[i]->info, diskAlias(def->disks[i]));
    for (size_t i = 0; i < def->ncontrollers; i++) {
        // Command lines name a controller's bus by it: no other name will do.
        g_free(def->controllers[i]->info.alias);
        def->controllers[i]->info.alias = g_strdup(controllerAlias(def, def->controllers[i]).c_str());
    }
    const auto number = [](auto **devices, size_t count, const char *prefix) {
        for (size_t i = 0; i < count; i++)
            name(devices[i]->info, strprintf("%s%zu", prefix, i));
    };
    number(def->nets, def->nnets, "net");
    number(def->serials, def->nserials, "serial");
    number(def->consoles, def->nconsoles, "console");
    number(def->channels, def->nchannels, "channel");
    number(def->videos, def->nvideos, "video");
    number(def->inputs, def->ninputs, "input");
    number(def->rngs, def->nrngs, "rng");
    if (def->watchdog)
        name(def->watchdog->info, "watchdog0");
    if (def->memballoon && def->memballoon->model != VIR_DOMAIN_MEMBALLOON_MODEL_NONE)
        name(def->memballoon->info, "balloon0");
    // The first console is the first serial port, under its name.
    if (def->nconsoles && def->nserials &&
        def->consoles[0]->targetType == VIR_DOMAIN_CHR_CONSOLE_TARGET_TYPE_SERIAL) {
        g_free(def->consoles[0]->info.alias);
        def->consoles[0]->info.alias = g_strdup(def->serials[0]->info.alias);
    }
    return {};
}

} // namespace godwit::hypervisor::machine
