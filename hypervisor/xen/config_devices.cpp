// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/i18n.h"
#include "base/strprintf.h"
#include "conf/libvirt_error.h"
#include "hypervisor/xen/config.h"

#include <array>
#include <optional>

namespace godwit::hypervisor::xen {

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::strprintf;
using base::tr;

// Disks, NICs and host devices, as libxl describes them.

// ---- disks -------------------------------------------------------------------------------

/// What a disk's <driver name= type=> comes to.
struct DriverFormat {
    const char *driver;
    int format;   ///< VIR_STORAGE_FILE_*
    libxl_disk_format libxlFormat;
    libxl_disk_backend backend;
};

static constexpr auto driverFormats = std::to_array<DriverFormat>({
    {"tap", VIR_STORAGE_FILE_QCOW, LIBXL_DISK_FORMAT_QCOW, LIBXL_DISK_BACKEND_QDISK},
    {"tap", VIR_STORAGE_FILE_QCOW2, LIBXL_DISK_FORMAT_QCOW2, LIBXL_DISK_BACKEND_QDISK},
    {"tap", VIR_STORAGE_FILE_VHD, LIBXL_DISK_FORMAT_VHD, LIBXL_DISK_BACKEND_TAP},
    {"tap", VIR_STORAGE_FILE_RAW, LIBXL_DISK_FORMAT_RAW, LIBXL_DISK_BACKEND_TAP},
    {"tap", VIR_STORAGE_FILE_QED, LIBXL_DISK_FORMAT_QED, LIBXL_DISK_BACKEND_QDISK},
    {"qemu", VIR_STORAGE_FILE_QCOW, LIBXL_DISK_FORMAT_QCOW, LIBXL_DISK_BACKEND_QDISK},
    {"qemu", VIR_STORAGE_FILE_QCOW2, LIBXL_DISK_FORMAT_QCOW2, LIBXL_DISK_BACKEND_QDISK},
    {"qemu", VIR_STORAGE_FILE_QED, LIBXL_DISK_FORMAT_QED, LIBXL_DISK_BACKEND_QDISK},
    {"qemu", VIR_STORAGE_FILE_VHD, LIBXL_DISK_FORMAT_VHD, LIBXL_DISK_BACKEND_QDISK},
    {"qemu", VIR_STORAGE_FILE_RAW, LIBXL_DISK_FORMAT_RAW, LIBXL_DISK_BACKEND_QDISK},
    {"file", VIR_STORAGE_FILE_RAW, LIBXL_DISK_FORMAT_RAW, LIBXL_DISK_BACKEND_QDISK},
    {"phy", VIR_STORAGE_FILE_RAW, LIBXL_DISK_FORMAT_RAW, LIBXL_DISK_BACKEND_PHY},
});

static Result<void> diskFormat(const virDomainDiskDef *disk, libxl_device_disk *out)
{
    const char *driver = virDomainDiskGetDriver(disk);
    if (!driver) {
        out->format = LIBXL_DISK_FORMAT_RAW;
        out->backend = LIBXL_DISK_BACKEND_UNKNOWN;   // libxl chooses
        return {};
    }
    const char *known = STREQ(driver, "tap2") ? "tap" : driver;
    const int format = virDomainDiskGetFormat(const_cast<virDomainDiskDef *>(disk));
    for (const DriverFormat &row : driverFormats) {
        if (STREQ(row.driver, known) && row.format == format) {
            out->format = row.libxlFormat;
            out->backend = row.backend;
            return {};
        }
    }
    return unsupported(strprintf(tr("disks of format '%s' with driver '%s'"),
                                 virStorageFileFormatTypeToString(format), driver));
}

static std::string escaped(const char *text, const char *special)
{
    std::string out;
    for (; *text; text++) {
        if (strchr(special, *text))
            out += '\\';
        out += *text;
    }
    return out;
}

/// The key of a Ceph user, from libvirt's secret driver, as RBD expects it.
static Result<std::string> cephKey(const virStorageAuthDef *auth)
{
    auto connection = conf::ObjectRef<virConnect>::adopt(TRY(conf::check(virGetConnectSecret())));
    uint8_t *secret = nullptr;
    size_t size = 0;
    TRY(conf::check(virSecretGetSecretString(connection.get(), const_cast<virSecretLookupTypeDef *>(&auth->seclookupdef),
                                             VIR_SECRET_USAGE_TYPE_CEPH, &secret, &size)));
    conf::Text encoded(g_base64_encode(secret, size));
    virSecureErase(secret, size);
    g_free(secret);
    return std::string(encoded.get());
}

static Result<std::string> networkSource(const virStorageSource *source)
{
    if (source->protocol != VIR_STORAGE_NET_PROTOCOL_RBD)
        return unsupported(strprintf(tr("disks on network protocol '%s'"),
                                     virStorageNetProtocolTypeToString(source->protocol)));
    if (strchr(source->path, ':'))
        return makeError(ErrorCode::InvalidArgument, tr("':' is not allowed in RBD volume name '%s'"), source->path);
    std::string out = strprintf("rbd:%s/%s", source->volume, source->path);
    if (source->auth)
        out += ":id=" + escaped(source->auth->username, ":") + ":key=" + escaped(TRY(cephKey(source->auth)).c_str(), ":") +
               ":auth_supported=cephx\\;none";
    else
        out += ":auth_supported=none";
    for (size_t i = 0; i < source->nhosts; i++) {
        out += i ? "\\;" : ":mon_host=";
        const char *host = source->hosts[i].name;
        // With colons in it, it is an IPv6 address.
        out += strchr(host, ':') ? "[" + escaped(host, ":") + "]" : host;
        if (source->hosts[i].port)
            out += strprintf("\\:%u", source->hosts[i].port);
    }
    if (source->configFile)
        out += ":conf=" + escaped(source->configFile, ":");
    return out;
}

Result<void> buildDisk(const virDomainDiskDef *disk, libxl_device_disk *out)
{
    if (virStorageSourceGetActualType(disk->src) == VIR_STORAGE_TYPE_NETWORK) {
        if (STRNEQ_NULLABLE(virDomainDiskGetDriver(disk), "qemu"))
            return unsupported(tr("network disks with another driver than 'qemu'"));
        out->pdev_path = copy(TRY(networkSource(disk->src)).c_str());
    } else {
        out->pdev_path = copy(virDomainDiskGetSource(disk));
    }
    out->vdev = copy(disk->dst);
    TRY(diskFormat(disk, out));
    out->removable = 1;
    out->readwrite = !disk->src->readonly;
    out->is_cdrom = disk->device == VIR_DOMAIN_DISK_DEVICE_CDROM;
    if (out->readwrite && disk->discard == VIR_DOMAIN_DISK_DISCARD_UNMAP)
        libxl_defbool_set(&out->discard_enable, true);
    if (out->readwrite && disk->discard == VIR_DOMAIN_DISK_DISCARD_IGNORE)
        libxl_defbool_set(&out->discard_enable, false);
    if (out->is_cdrom && !out->pdev_path)
        out->format = LIBXL_DISK_FORMAT_EMPTY;
    if (disk->transient)
        return unsupported(tr("transient disks"));
    out->backend_domname = copy(disk->domain_name);
    return {};
}

// ---- NICs --------------------------------------------------------------------------------

static std::string bridgeOf(const virDomainNetDef *net, bool openvswitch)
{
    std::string bridge = virDomainNetGetActualBridgeName(net);
    const virNetDevVlan *vlan = virDomainNetGetActualVlan(net);
    if (!openvswitch || !vlan || vlan->nTags == 0)
        return bridge;
    // BRIDGE[.VLAN][:TRUNK:TRUNK]
    if (!vlan->trunk)
        return bridge + strprintf(".%u", vlan->tag[0]);
    for (int i = 0; i < vlan->nTags; i++)
        bridge += strprintf(":%u", vlan->tag[i]);
    return bridge;
}

static std::string addresses(const virDomainNetDef *net)
{
    std::string all;
    for (size_t i = 0; i < net->guestIP.nips; i++) {
        conf::Text address(virSocketAddrFormat(&net->guestIP.ips[i]->address));
        all += (i ? " " : "") + std::string(address ? address.get() : "");
    }
    return all;
}

static Result<void> nicModel(const virDomainDef *def, const virDomainNetDef *net, bool plugged, libxl_device_nic *out)
{
    const bool hvm = def->os.type == VIR_DOMAIN_OSTYPE_HVM;
    const char *model = virDomainNetGetModelString(net);
    if (!model) {
        // An emulated one cannot be plugged in.
        out->nictype = hvm && !plugged ? LIBXL_NIC_TYPE_VIF_IOEMU : LIBXL_NIC_TYPE_VIF;
        return {};
    }
    const bool netfront = net->model == VIR_DOMAIN_NET_MODEL_NETFRONT;
    if (!hvm && !netfront)
        return unsupported(strprintf(tr("NICs of model '%s' in a guest without emulated devices, only 'netfront'"), model));
    out->model = copy(model);
    out->nictype = netfront ? LIBXL_NIC_TYPE_VIF : LIBXL_NIC_TYPE_VIF_IOEMU;
    return {};
}

/// libxl wants bytes per interval; libvirt says KiB per second.
static void rate(const virDomainNetDef *net, libxl_device_nic *out)
{
    constexpr uint64_t intervalUs = 50000;
    const virNetDevBandwidth *bandwidth = virDomainNetGetActualBandwidth(net);
    if (!bandwidth || !bandwidth->out || !bandwidth->out->average)
        return;
    out->rate_bytes_per_interval = bandwidth->out->average * 1024 * intervalUs / 1000000;
    out->rate_interval_usecs = static_cast<uint32_t>(intervalUs);
}

Result<void> buildNic(const virDomainDef *def, const virDomainNetDef *net, bool plugged, libxl_device_nic *out)
{
    const int type = virDomainNetGetActualType(net);
    const bool scripted = type == VIR_DOMAIN_NET_TYPE_BRIDGE || type == VIR_DOMAIN_NET_TYPE_ETHERNET;
    if (net->script && !scripted)
        return unsupported(tr("a script for interfaces that are neither 'bridge' nor 'ethernet'"));
    virMacAddrGetRaw(&net->mac, out->mac);
    TRY(nicModel(def, net, plugged, out));
    out->ifname = copy(net->ifname);
    const char *script = net->script;
    switch (type) {
    case VIR_DOMAIN_NET_TYPE_BRIDGE: {
        const virNetDevVPortProfile *profile = virDomainNetGetActualVirtPortProfile(net);
        const bool openvswitch = profile && profile->virtPortType == VIR_NETDEV_VPORT_PROFILE_OPENVSWITCH;
        if (openvswitch && !script)
            script = "vif-openvswitch";
        out->bridge = copy(bridgeOf(net, openvswitch).c_str());
        break;
    }
    case VIR_DOMAIN_NET_TYPE_ETHERNET: break;
    case VIR_DOMAIN_NET_TYPE_NETWORK: {
        const char *bridge = virDomainNetGetActualBridgeName(net);
        if (!bridge)
            return makeError(ErrorCode::OperationFailed, tr("network '%s' has no bridge"), net->data.network.name);
        out->bridge = copy(bridge);
        break;
    }
    default: return unsupported(strprintf(tr("interfaces of type '%s'"), virDomainNetTypeToString(net->type)));
    }
    if (scripted)
        out->script = copy(script);
    if (net->guestIP.nips > 0)
        out->ip = copy(addresses(net).c_str());
    out->backend_domname = copy(net->domain_name);
    rate(net, out);
    return {};
}

// ---- host devices ------------------------------------------------------------------------

static bool isHostDevice(const virDomainHostdevDef *device, int type)
{
    return device->mode == VIR_DOMAIN_HOSTDEV_MODE_SUBSYS && device->source.subsys.type == type;
}

Result<void> buildPci(const virDomainHostdevDef *device, libxl_device_pci *out)
{
    const virPCIDeviceAddress &address = device->source.subsys.u.pci.addr;
    out->domain = static_cast<int>(address.domain);
    out->bus = static_cast<uint8_t>(address.bus);
    out->dev = static_cast<uint8_t>(address.slot);
    out->func = static_cast<uint8_t>(address.function);
    out->permissive = device->writeFiltering == VIR_TRISTATE_BOOL_NO;
    return {};
}

Result<void> buildUsb(const virDomainHostdevDef *device, libxl_device_usbdev *out)
{
    const auto &usb = device->source.subsys.u.usb;
    // By bus and number, or found by vendor and product (virHostdevPrepare has done so).
    if (usb.bus == 0 || usb.device == 0)
        return makeError(ErrorCode::OperationFailed, tr("there is no USB device %x:%x"), usb.vendor, usb.product);
    // Without its type libxl forgets what the device is, and the guest does not reboot.
    libxl_device_usbdev_init_type(out, LIBXL_USBDEV_TYPE_HOSTDEV);
    out->u.hostdev.hostbus = static_cast<uint8_t>(usb.bus);
    out->u.hostdev.hostaddr = static_cast<uint8_t>(usb.device);
    return {};
}

static constexpr int defaultUsbPorts = 8;

void defaultUsbController(libxl_device_usbctrl *out)
{
    out->type = LIBXL_USBCTRL_TYPE_QUSB;
    out->version = 2;
    out->ports = defaultUsbPorts;
}

Result<void> buildUsbController(const virDomainControllerDef *controller, libxl_device_usbctrl *out)
{
    out->devid = controller->idx;
    out->type = LIBXL_USBCTRL_TYPE_QUSB;
    switch (controller->model) {
    case VIR_DOMAIN_CONTROLLER_MODEL_USB_DEFAULT:
    case VIR_DOMAIN_CONTROLLER_MODEL_USB_QUSB2: out->version = 2; break;
    case VIR_DOMAIN_CONTROLLER_MODEL_USB_QUSB1: out->version = 1; break;
    default:
        return unsupported(strprintf(tr("USB controllers of model '%s'"),
                                     virDomainControllerModelUSBTypeToString(controller->model)));
    }
    out->ports = controller->opts.usbopts.ports == -1 ? defaultUsbPorts : controller->opts.usbopts.ports;
    return {};
}

static Result<void> usbControllers(const virDomainDef *def, size_t usbDevices, libxl_domain_config *out)
{
    size_t defined = 0;
    for (size_t i = 0; i < def->ncontrollers; i++)
        defined += def->controllers[i]->type == VIR_DOMAIN_CONTROLLER_TYPE_USB;
    const size_t implied = defined ? 0 : VIR_DIV_UP(usbDevices, defaultUsbPorts);
    out->usbctrls = array<libxl_device_usbctrl>(defined + implied);
    const auto add = [&] {
        libxl_device_usbctrl *controller = &out->usbctrls[out->num_usbctrls++];
        libxl_device_usbctrl_init(controller);
        return controller;
    };
    for (size_t i = 0; i < def->ncontrollers; i++) {
        if (def->controllers[i]->type == VIR_DOMAIN_CONTROLLER_TYPE_USB)
            TRY(buildUsbController(def->controllers[i], add()));
    }
    for (size_t i = 0; i < implied; i++) {
        libxl_device_usbctrl *controller = add();
        controller->devid = static_cast<int>(i);
        defaultUsbController(controller);
    }
    return {};
}

Result<void> buildHostDevices(const virDomainDef *def, libxl_domain_config *out)
{
    size_t usbDevices = 0;
    for (size_t i = 0; i < def->nhostdevs; i++)
        usbDevices += isHostDevice(def->hostdevs[i], VIR_DOMAIN_HOSTDEV_SUBSYS_TYPE_USB);
    TRY(usbControllers(def, usbDevices, out));
    out->pcidevs = array<libxl_device_pci>(def->nhostdevs);
    out->usbdevs = array<libxl_device_usbdev>(def->nhostdevs);
    for (size_t i = 0; i < def->nhostdevs; i++) {
        const virDomainHostdevDef *device = def->hostdevs[i];
        if (isHostDevice(device, VIR_DOMAIN_HOSTDEV_SUBSYS_TYPE_PCI)) {
            libxl_device_pci *pci = &out->pcidevs[out->num_pcidevs++];
            libxl_device_pci_init(pci);
            TRY(buildPci(device, pci));
        } else if (isHostDevice(device, VIR_DOMAIN_HOSTDEV_SUBSYS_TYPE_USB)) {
            libxl_device_usbdev *usb = &out->usbdevs[out->num_usbdevs++];
            libxl_device_usbdev_init(usb);
            TRY(buildUsb(device, usb));
        } else {
            return unsupported(tr("host devices that are neither PCI nor USB"));
        }
    }
    return {};
}

} // namespace godwit::hypervisor::xen
