// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/i18n.h"
#include "base/strprintf.h"
#include "conf/libvirt_error.h"
#include "hypervisor/xen/config.h"
#include "hypervisor/xen/guest.h"

namespace godwit::hypervisor::xen {

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::strprintf;
using base::tr;

// Devices that come to a running guest, go, or change.

static base::Error fixed(const virDomainDeviceDef *device)
{
    return unsupported(strprintf(tr("changing devices of type '%s' of a running guest"),
                                 virDomainDeviceTypeToString(device->type)));
}

static bool isPci(const virDomainHostdevDef *device)
{
    return device->source.subsys.type == VIR_DOMAIN_HOSTDEV_SUBSYS_TYPE_PCI;
}

static Result<void> requireKnownHostDevice(const virDomainHostdevDef *device)
{
    const int type = device->source.subsys.type;
    if (device->mode != VIR_DOMAIN_HOSTDEV_MODE_SUBSYS ||
        (type != VIR_DOMAIN_HOSTDEV_SUBSYS_TYPE_PCI && type != VIR_DOMAIN_HOSTDEV_SUBSYS_TYPE_USB))
        return unsupported(tr("host devices that are neither PCI nor USB"));
    return {};
}

static bool sameUsb(const libxl_device_usbdev &one, const libxl_device_usbdev &other)
{
    return one.u.hostdev.hostbus == other.u.hostdev.hostbus && one.u.hostdev.hostaddr == other.u.hostdev.hostaddr;
}

/// The ports of a guest's USB controllers, and what is in them.
struct UsbPorts {
    int ports = 0, used = 0;
    bool found = false;   ///< `usb`, which now says in which port
};

static UsbPorts usbPorts(libxl_ctx *ctx, uint32_t domain, Usb &usb)
{
    UsbPorts all;
    int count = 0;
    libxl_device_usbctrl *controllers = libxl_device_usbctrl_list(ctx, domain, &count);
    for (int i = 0; i < count; i++)
        all.ports += controllers[i].ports;
    libxl_device_usbctrl_list_free(controllers, count);
    libxl_device_usbdev *devices = libxl_device_usbdev_list(ctx, domain, &all.used);
    for (int i = 0; i < all.used && !all.found; i++) {
        if ((all.found = sameUsb(devices[i], *usb)))
            *usb = devices[i];   // numbers only
    }
    libxl_device_usbdev_list_free(devices, all.used);
    return all;
}

/// libxl takes a free port. Where there is none it would make an HVM guest a controller that the guest's QEMU has not:
/// so it gets the one that all guests have.
Result<void> XenGuest::attachUsb(const std::string &what, Usb &usb)
{
    const uint32_t domain = TRY(domid());
    auto operation = TRY(Operation::withXenstore());
    const UsbPorts now = usbPorts(operation->context(), domain, usb);
    if (now.used >= now.ports) {
        UsbController controller;
        defaultUsbController(controller.get());
        TRY(operation->run(inContext(tr("adding a USB controller")), [&](libxl_ctx *ctx, const libxl_asyncop_how *how) {
            return libxl_device_usbctrl_add(ctx, domain, controller.get(), how);
        }));
    }
    return operation->run(inContext(what.c_str()), [&](libxl_ctx *ctx, const libxl_asyncop_how *how) {
        return libxl_device_usbdev_add(ctx, domain, usb.get(), how);
    });
}

Result<void> XenGuest::detachUsb(const std::string &what, Usb &usb)
{
    const uint32_t domain = TRY(domid());
    auto operation = TRY(Operation::withXenstore());
    if (!usbPorts(operation->context(), domain, usb).found)
        return makeError(ErrorCode::OperationFailed, tr("'%s' has no USB device %u:%u in any port"),
                         facts_.name.c_str(), usb->u.hostdev.hostbus, usb->u.hostdev.hostaddr);
    return operation->run(inContext(what.c_str()), [&](libxl_ctx *ctx, const libxl_asyncop_how *how) {
        return libxl_device_usbdev_remove(ctx, domain, usb.get(), how);
    });
}

Result<void> XenGuest::changeHostDevice(const std::string &what, const virDomainDeviceDef *device, PciCall *changePci,
                                        UsbChange changeUsb)
{
    if (device->type != VIR_DOMAIN_DEVICE_HOSTDEV)
        return fixed(device);
    const virDomainHostdevDef *hostdev = device->data.hostdev;
    TRY(requireKnownHostDevice(hostdev));
    if (!isPci(hostdev)) {
        Usb usb;
        TRY(buildUsb(hostdev, usb.get()));
        return (this->*changeUsb)(what, usb);
    }
    Pci pci;
    TRY(buildPci(hostdev, pci.get()));
    return run(what, [&](libxl_ctx *ctx, uint32_t domain, const libxl_asyncop_how *how) {
        return changePci(ctx, domain, pci.get(), how);
    });
}

Result<void> XenGuest::attachDevice(const virDomainDef *def, virDomainDeviceDef *device)
{
    const std::string what = strprintf(tr("plugging a device of type '%s' in"),
                                       virDomainDeviceTypeToString(device->type));
    if (device->type == VIR_DOMAIN_DEVICE_DISK) {
        // A drive for removable media is part of the machine; a disk of Xen's is not.
        if (device->data.disk->device != VIR_DOMAIN_DISK_DEVICE_DISK ||
            device->data.disk->bus != VIR_DOMAIN_DISK_BUS_XEN)
            return unsupported(tr("plugging a disk in that is not on Xen's own bus"));
        Disk disk;
        TRY(buildDisk(device->data.disk, disk.get()));
        return run(what, [&](libxl_ctx *ctx, uint32_t domain, const libxl_asyncop_how *how) {
            return libxl_device_disk_add(ctx, domain, disk.get(), how);
        });
    }
    if (device->type == VIR_DOMAIN_DEVICE_NET) {
        Nic nic;
        TRY(buildNic(def, device->data.net, /* plugged= */ true, nic.get()));
        return run(what, [&](libxl_ctx *ctx, uint32_t domain, const libxl_asyncop_how *how) {
            return libxl_device_nic_add(ctx, domain, nic.get(), how);
        });
    }
    return changeHostDevice(what, device, libxl_device_pci_add, &XenGuest::attachUsb);
}

Result<void> XenGuest::detachDevice(const virDomainDef *, virDomainDeviceDef *device)
{
    const std::string what = strprintf(tr("unplugging a device of type '%s'"),
                                       virDomainDeviceTypeToString(device->type));
    if (device->type == VIR_DOMAIN_DEVICE_DISK) {
        return run(what, [&](libxl_ctx *ctx, uint32_t domain, const libxl_asyncop_how *how) {
            Disk disk;
            if (int failed = libxl_vdev_to_device_disk(ctx, domain, device->data.disk->dst, disk.get()))
                return failed;
            return libxl_device_disk_remove(ctx, domain, disk.get(), how);
        });
    }
    if (device->type == VIR_DOMAIN_DEVICE_NET) {
        char mac[VIR_MAC_STRING_BUFLEN];
        virMacAddrFormat(&device->data.net->mac, mac);
        return run(what, [&](libxl_ctx *ctx, uint32_t domain, const libxl_asyncop_how *how) {
            Nic nic;
            if (int failed = libxl_mac_to_device_nic(ctx, domain, mac, nic.get()))
                return failed;
            return libxl_device_nic_remove(ctx, domain, nic.get(), how);
        });
    }
    return changeHostDevice(what, device, libxl_device_pci_remove, &XenGuest::detachUsb);
}

/// Only media change: of a drive, for another or none.
Result<void> XenGuest::updateDevice(const virDomainDef *, virDomainDeviceDef *device)
{
    if (device->type != VIR_DOMAIN_DEVICE_DISK || device->data.disk->device != VIR_DOMAIN_DISK_DEVICE_CDROM)
        return fixed(device);
    Disk disk;
    TRY(buildDisk(device->data.disk, disk.get()));
    return run(tr("changing a medium"), [&](libxl_ctx *ctx, uint32_t domain, const libxl_asyncop_how *how) {
        return libxl_cdrom_insert(ctx, domain, disk.get(), how);
    });
}

} // namespace godwit::hypervisor::xen
