// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/machine/definition.h"

#include "base/units.h"
#include "conf/libvirt_error.h"
#include "hypervisor/machine/command_line.h"
#include "hypervisor/machine/machine_type.h"

namespace godwit::hypervisor::machine {

using base::Result;

static void setText(char *&member, const std::string &text)
{
    g_free(member);
    member = g_strdup(text.c_str());
}

/// Both ends of a migration must mean the same machine: an alias would mean another one
/// to a newer emulator.
static void canonicalMachine(virDomainDef *def, const EmulatorDefaults &emulator)
{
    const std::string name = def->os.machine ? def->os.machine : "pc";
    if (name == "pc" && !emulator.pc.empty())
        setText(def->os.machine, emulator.pc);
    else if (name == "q35" && !emulator.q35.empty())
        setText(def->os.machine, emulator.q35);
    else if (!def->os.machine)
        setText(def->os.machine, name);
}

static bool hasUsbDevice(const virDomainDef *def)
{
    for (size_t i = 0; i < def->ninputs; i++) {
        if (def->inputs[i]->bus == VIR_DOMAIN_INPUT_BUS_USB)
            return true;
    }
    return false;
}

static Result<void> addImplicitControllers(virDomainDef *def)
{
    const int root = isQ35(def) ? VIR_DOMAIN_CONTROLLER_MODEL_PCIE_ROOT : VIR_DOMAIN_CONTROLLER_MODEL_PCI_ROOT;
    TRY(conf::check(virDomainDefMaybeAddController(def, VIR_DOMAIN_CONTROLLER_TYPE_PCI, 0, root)));
    if (hasUsbDevice(def))
        TRY(conf::check(virDomainDefMaybeAddController(def, VIR_DOMAIN_CONTROLLER_TYPE_USB, 0, -1)));
    return {};
}

Result<void> completeDefinition(virDomainDef *def, const EmulatorDefaults &emulator)
{
    if (def->os.type != VIR_DOMAIN_OSTYPE_HVM)
        return {};   // refused by checkSupport
    if (!def->emulator && !emulator.binary.empty())
        setText(def->emulator, emulator.binary);
    canonicalMachine(def, emulator);

    const unsigned long long kibPerMib = base::KiB;
    const unsigned long long kib = virDomainDefGetMemoryInitial(def);
    virDomainDefSetMemoryTotal(def, (kib + kibPerMib - 1) / kibPerMib * kibPerMib);

    TRY(addImplicitControllers(def));
    if (!def->memballoon) {
        def->memballoon = g_new0(virDomainMemballoonDef, 1);
        def->memballoon->model = VIR_DOMAIN_MEMBALLOON_MODEL_VIRTIO;
    }
    if (def->ngraphics) {
        TRY(conf::check(virDomainDefMaybeAddInput(def, VIR_DOMAIN_INPUT_TYPE_MOUSE, VIR_DOMAIN_INPUT_BUS_PS2)));
        TRY(conf::check(virDomainDefMaybeAddInput(def, VIR_DOMAIN_INPUT_TYPE_KBD, VIR_DOMAIN_INPUT_BUS_PS2)));
    }
    return {};
}

static void completeDisk(virDomainDiskDef *disk)
{
    if (!disk->driverName)
        disk->driverName = g_strdup("qemu");
    // Never guessed from the content: a guest could write a header there.
    if (disk->src->format <= VIR_STORAGE_FILE_NONE && !virStorageSourceIsEmpty(disk->src))
        disk->src->format = VIR_STORAGE_FILE_RAW;
}

static void completeController(virDomainControllerDef *controller, const virDomainDef *def)
{
    if (controller->type == VIR_DOMAIN_CONTROLLER_TYPE_USB && controller->model == -1)
        controller->model = isQ35(def) ? VIR_DOMAIN_CONTROLLER_MODEL_USB_QEMU_XHCI
                                       : VIR_DOMAIN_CONTROLLER_MODEL_USB_PIIX3_UHCI;
}

static void completeCharacterDevice(virDomainChrDef *device)
{
    // A path that some host's run directory gave it means nothing on this one.
    if (device->source->type == VIR_DOMAIN_CHR_TYPE_UNIX && device->source->data.nix.path &&
        isOwnChannelPath(device->source->data.nix.path)) {
        g_free(device->source->data.nix.path);
        device->source->data.nix.path = nullptr;
    }
    if (device->source->type == VIR_DOMAIN_CHR_TYPE_UNIX && !device->source->data.nix.path)
        device->source->data.nix.listen = true;
    if (device->deviceType != VIR_DOMAIN_CHR_DEVICE_TYPE_SERIAL)
        return;
    if (device->targetType == VIR_DOMAIN_CHR_SERIAL_TARGET_TYPE_NONE)
        device->targetType = VIR_DOMAIN_CHR_SERIAL_TARGET_TYPE_ISA;
    if (device->targetModel == VIR_DOMAIN_CHR_SERIAL_TARGET_MODEL_NONE &&
        device->targetType == VIR_DOMAIN_CHR_SERIAL_TARGET_TYPE_ISA)
        device->targetModel = VIR_DOMAIN_CHR_SERIAL_TARGET_MODEL_ISA_SERIAL;
}

Result<void> completeDevice(virDomainDeviceDef *device, const virDomainDef *def)
{
    switch (device->type) {
    case VIR_DOMAIN_DEVICE_DISK: completeDisk(device->data.disk); break;
    case VIR_DOMAIN_DEVICE_CONTROLLER: completeController(device->data.controller, def); break;
    case VIR_DOMAIN_DEVICE_CHR: completeCharacterDevice(device->data.chr); break;
    case VIR_DOMAIN_DEVICE_NET:
        if (!virDomainNetGetModelString(device->data.net) && device->data.net->type != VIR_DOMAIN_NET_TYPE_HOSTDEV)
            device->data.net->model = VIR_DOMAIN_NET_MODEL_RTL8139;
        break;
    case VIR_DOMAIN_DEVICE_VIDEO:
        if (device->data.video->type == VIR_DOMAIN_VIDEO_TYPE_DEFAULT)
            device->data.video->type = VIR_DOMAIN_VIDEO_TYPE_VGA;
        break;
    default: break;
    }
    return {};
}

} // namespace godwit::hypervisor::machine
