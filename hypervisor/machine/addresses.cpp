// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/machine/definition.h"

#include "base/i18n.h"
#include "conf/handle.h"
#include "conf/libvirt_error.h"
#include "hypervisor/machine/machine_type.h"

namespace godwit::hypervisor::machine {

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::tr;

using PciAddressSet = std::unique_ptr<virDomainPCIAddressSet, conf::FreeWith<virDomainPCIAddressSetFree>>;
using PortSet = std::unique_ptr<virDomainVirtioSerialAddrSet, conf::FreeWith<virDomainVirtioSerialAddrSetFree>>;

static constexpr unsigned lastSlot = 31;

namespace {

/// Hands out places on the machine's one PCI bus.
class PciBus
{
public:
    static Result<PciBus> make(const virDomainDef *def)
    {
        PciBus bus(isQ35(def));
        bus.set_.reset(virDomainPCIAddressSetAlloc(1, VIR_PCI_ADDRESS_EXTENSION_NONE));
        TRY(conf::check(bus.set_.get()));
        const auto model = bus.express_ ? VIR_DOMAIN_CONTROLLER_MODEL_PCIE_ROOT : VIR_DOMAIN_CONTROLLER_MODEL_PCI_ROOT;
        TRY(conf::check(virDomainPCIAddressBusSetModel(&bus.set_->buses[0], model, /* allowHotplug= */ false)));
        return bus;
    }

    /// Take a place that is given.
    Result<void> take(virPCIDeviceAddress *address)
    {
        if (address->domain != 0 || address->bus != 0)
            return makeError(ErrorCode::Unsupported,
                             tr("PCI address %04x:%02x:%02x.%x is not supported by the "
                                "machine hypervisor: there is one bus, 0"),
                             address->domain, address->bus, address->slot, address->function);
        return conf::check(virDomainPCIAddressReserveAddr(set_.get(), address, flags(), 0));
    }

    /// Give a device its fixed place, if it has none.
    Result<void> fix(virDomainDeviceInfo *info, unsigned slot, unsigned function)
    {
        if (!virDeviceInfoPCIAddressIsWanted(info))
            return {};
        virPCIDeviceAddress address{};
        address.slot = slot;
        address.function = function;
        TRY(take(&address));
        return put(info, address);
    }

    /// Give a device the lowest free slot, if it wants one.
    Result<void> place(virDomainDeviceInfo *info)
    {
        if (!virDeviceInfoPCIAddressIsWanted(info))
            return {};
        for (unsigned slot = 1; slot <= lastSlot; slot++) {
            virPCIDeviceAddress address{};
            address.slot = slot;
            if (virDomainPCIAddressSlotInUse(set_.get(), &address))
                continue;
            TRY(take(&address));
            return put(info, address);
        }
        return makeError(ErrorCode::Unsupported, tr("no PCI slot is left: a machine has %u"), lastSlot);
    }

private:
    explicit PciBus(bool express) : express_(express) {}
    virDomainPCIConnectFlags flags() const
    {
        return express_ ? VIR_PCI_CONNECT_TYPE_PCIE_DEVICE : VIR_PCI_CONNECT_TYPE_PCI_DEVICE;
    }
    static Result<void> put(virDomainDeviceInfo *info, const virPCIDeviceAddress &address)
    {
        info->type = VIR_DOMAIN_DEVICE_ADDRESS_TYPE_PCI;
        info->addr.pci = address;
        return {};
    }

    PciAddressSet set_;
    bool express_;
};

} // namespace

/// What the chipset has on its own, and the XML knows as a controller.
static Result<void> placeChipset(virDomainDef *def, PciBus &bus)
{
    for (size_t i = 0; i < def->ncontrollers; i++) {
        virDomainControllerDef *controller = def->controllers[i];
        if (controller->idx != 0)
            continue;
        if (isQ35(def)) {
            if (controller->type == VIR_DOMAIN_CONTROLLER_TYPE_SATA)
                TRY(bus.fix(&controller->info, 0x1f, 2));
        } else if (controller->type == VIR_DOMAIN_CONTROLLER_TYPE_IDE) {
            TRY(bus.fix(&controller->info, 1, 1));
        } else if (controller->type == VIR_DOMAIN_CONTROLLER_TYPE_USB &&
                   controller->model == VIR_DOMAIN_CONTROLLER_MODEL_USB_PIIX3_UHCI) {
            TRY(bus.fix(&controller->info, 1, 2));
        }
    }
    return {};
}

/// Places that the chipset occupies, whatever the definition says.
static Result<void> takeChipset(virDomainDef *def, PciBus &bus)
{
    const auto take = [&](unsigned slot, unsigned function) {
        virPCIDeviceAddress address{};
        address.slot = slot;
        address.function = function;
        return bus.take(&address);
    };
    if (isQ35(def)) {
        TRY(take(0x1f, 0));   // LPC
        TRY(take(0x1f, 3));   // SMBus
        // Without a SATA controller in the definition the machine still has it.
        if (virDomainControllerFind(def, VIR_DOMAIN_CONTROLLER_TYPE_SATA, 0) < 0)
            TRY(take(0x1f, 2));
    } else {
        TRY(take(1, 0));      // ISA bridge
        TRY(take(1, 3));      // ACPI
        if (virDomainControllerFind(def, VIR_DOMAIN_CONTROLLER_TYPE_IDE, 0) < 0)
            TRY(take(1, 1));
    }
    return {};
}

static Result<void> takeGiven(virDomainDef *def, PciBus &bus)
{
    struct Context {
        PciBus &bus;
        Result<void> result;
    } context{bus, {}};
    const auto visit = [](virDomainDef *, virDomainDeviceDef *, virDomainDeviceInfo *info, void *opaque) {
        auto *self = static_cast<Context *>(opaque);
        if (info->type == VIR_DOMAIN_DEVICE_ADDRESS_TYPE_PCI && !virPCIDeviceAddressIsEmpty(&info->addr.pci))
            self->result = self->bus.take(&info->addr.pci);
        return self->result ? 0 : -1;
    };
    (void)virDomainDeviceInfoIterate(def, visit, &context);
    return context.result;
}

/// ICH9's USB controller is four functions of one slot, one EHCI and three companions.
static Result<void> placeUsb(virDomainDef *def, virDomainControllerDef *controller, PciBus &bus)
{
    const int first = VIR_DOMAIN_CONTROLLER_MODEL_USB_ICH9_UHCI1;
    if (controller->model == VIR_DOMAIN_CONTROLLER_MODEL_USB_NONE ||
        !virDeviceInfoPCIAddressIsWanted(&controller->info))
        return {};
    if (controller->info.mastertype != VIR_DOMAIN_CONTROLLER_MASTER_USB)
        return bus.place(&controller->info);
    for (size_t i = 0; i < def->ncontrollers; i++) {
        const virDomainControllerDef *master = def->controllers[i];
        if (master->type == VIR_DOMAIN_CONTROLLER_TYPE_USB && master->idx == controller->idx &&
            master->model == VIR_DOMAIN_CONTROLLER_MODEL_USB_ICH9_EHCI1 &&
            master->info.type == VIR_DOMAIN_DEVICE_ADDRESS_TYPE_PCI) {
            TRY(bus.fix(&controller->info, master->info.addr.pci.slot, static_cast<unsigned>(controller->model - first) + 1));
            return {};
        }
    }
    return bus.place(&controller->info);
}

static Result<void> placeControllers(virDomainDef *def, PciBus &bus)
{
    for (size_t i = 0; i < def->ncontrollers; i++) {
        virDomainControllerDef *controller = def->controllers[i];
        if (controller->type == VIR_DOMAIN_CONTROLLER_TYPE_USB)
            TRY(placeUsb(def, controller, bus));
        else if (controller->type == VIR_DOMAIN_CONTROLLER_TYPE_SATA ||
                 controller->type == VIR_DOMAIN_CONTROLLER_TYPE_VIRTIO_SERIAL)
            TRY(bus.place(&controller->info));
    }
    return {};
}

static Result<void> placeDevices(virDomainDef *def, PciBus &bus)
{
    // The first screen comes first: firmware and old guests look for it at the lowest slot.
    for (size_t i = 0; i < def->nvideos; i++) {
        if (def->videos[i]->type != VIR_DOMAIN_VIDEO_TYPE_NONE)
            TRY(bus.place(&def->videos[i]->info));
    }
    for (size_t i = 0; i < def->nnets; i++)
        TRY(bus.place(&def->nets[i]->info));
    TRY(placeControllers(def, bus));
    for (size_t i = 0; i < def->ndisks; i++) {
        if (def->disks[i]->bus == VIR_DOMAIN_DISK_BUS_VIRTIO)
            TRY(bus.place(&def->disks[i]->info));
    }
    for (size_t i = 0; i < def->ninputs; i++) {
        if (def->inputs[i]->bus == VIR_DOMAIN_INPUT_BUS_VIRTIO)
            TRY(bus.place(&def->inputs[i]->info));
    }
    if (def->watchdog && def->watchdog->model == VIR_DOMAIN_WATCHDOG_MODEL_I6300ESB)
        TRY(bus.place(&def->watchdog->info));
    if (def->memballoon && def->memballoon->model == VIR_DOMAIN_MEMBALLOON_MODEL_VIRTIO)
        TRY(bus.place(&def->memballoon->info));
    for (size_t i = 0; i < def->nrngs; i++)
        TRY(bus.place(&def->rngs[i]->info));
    return {};
}

static Result<void> assignPorts(virDomainDef *def)
{
    PortSet ports(virDomainVirtioSerialAddrSetCreateFromDomain(def));
    TRY(conf::check(ports.get()));
    for (size_t i = 0; i < def->nconsoles; i++) {
        virDomainChrDef *console = def->consoles[i];
        if (console->targetType == VIR_DOMAIN_CHR_CONSOLE_TARGET_TYPE_VIRTIO &&
            !virDomainVirtioSerialAddrIsComplete(&console->info))
            // Not port 0: libvirt reserves that one without writing it down, and QEMU would choose.
            TRY(conf::check(virDomainVirtioSerialAddrAutoAssignFromCache(def, ports.get(), &console->info, false)));
    }
    for (size_t i = 0; i < def->nchannels; i++) {
        virDomainChrDef *channel = def->channels[i];
        if (channel->targetType == VIR_DOMAIN_CHR_CHANNEL_TARGET_TYPE_VIRTIO &&
            !virDomainVirtioSerialAddrIsComplete(&channel->info))
            TRY(conf::check(virDomainVirtioSerialAddrAutoAssignFromCache(def, ports.get(), &channel->info, false)));
    }
    return {};
}

Result<void> assignAddresses(virDomainDef *def)
{
    // Ports first: a port that finds no controller adds one, which then needs a slot.
    TRY(assignPorts(def));
    PciBus bus = TRY(PciBus::make(def));
    TRY(takeChipset(def, bus));
    TRY(takeGiven(def, bus));
    TRY(placeChipset(def, bus));
    TRY(placeDevices(def, bus));
    // A slot of several functions says so in its function 0: QEMU insists.
    virDomainPCIAddressSetAllMulti(def);
    return {};
}

} // namespace godwit::hypervisor::machine
