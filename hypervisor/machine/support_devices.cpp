// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/machine/definition.h"

#include "base/i18n.h"
#include "base/strprintf.h"
#include "hypervisor/machine/command_line.h"
#include "hypervisor/machine/machine_type.h"

namespace godwit::hypervisor::machine {

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::strprintf;
using base::tr;

namespace {

bool hasVirtioOptions(const virDomainVirtioOptions *options)
{
    return options && (options->iommu != VIR_TRISTATE_SWITCH_ABSENT || options->ats != VIR_TRISTATE_SWITCH_ABSENT ||
                       options->packed != VIR_TRISTATE_SWITCH_ABSENT ||
                       options->page_per_vq != VIR_TRISTATE_SWITCH_ABSENT);
}

/// Whole classes of devices that there are none of.
Result<void> checkAbsent(const virDomainDef *def)
{
    TRY(refuse(nullptr, {
        {def->nfss > 0, "a filesystem"},
        {def->nsounds > 0, "a sound device"},
        {def->nhostdevs > 0, "a host device (hostdev)"},
        {def->nredirdevs > 0 || def->redirfilter, "USB redirection (redirdev)"},
        {def->nsmartcards > 0, "a smartcard"},
        {def->nparallels > 0, "a parallel port"},
        {def->nleases > 0, "a lease"},
        {def->nhubs > 0, "a hub"},
        {def->nshmems > 0, "shared memory (shmem)"},
        {def->nmems > 0, "a memory device"},
        {def->npanics > 0, "a panic device"},
        {def->ntpms > 0, "a TPM"},
        {def->nvram != nullptr, "an NVRAM device"},
        {def->iommu != nullptr, "an IOMMU"},
        {def->vsock != nullptr, "a vsock device"},
    }));
    for (size_t i = 0; i < def->naudios; i++) {
        if (def->audios[i]->type != VIR_DOMAIN_AUDIO_TYPE_NONE)
            return unsupported("an audio backend");
    }
    return {};
}

// ---- disks ----------------------------------------------------------------------------

bool hasIoTune(const virDomainBlockIoTuneInfo &tune)
{
    return virDomainBlockIoTuneInfoHasAny(&tune);
}

Result<void> checkDiskSource(const virDomainDiskDef *disk)
{
    const virStorageSource *source = disk->src;
    const char *target = disk->dst;
    if (source->type != VIR_STORAGE_TYPE_FILE && source->type != VIR_STORAGE_TYPE_BLOCK)
        return unsupported(strprintf("disk '%s' of type '%s'", target, virStorageTypeToString(source->type)));
    if (virStorageSourceIsEmpty(disk->src)) {
        if (disk->device == VIR_DOMAIN_DISK_DEVICE_CDROM)
            return {};
        return makeError(ErrorCode::InvalidArgument, tr("disk '%s' has no source"), target);
    }
    if (source->format != VIR_STORAGE_FILE_RAW && source->format != VIR_STORAGE_FILE_QCOW2)
        return unsupported(strprintf("disk '%s' in format '%s'", target, virStorageFileFormatTypeToString(source->format)));
    const std::string name = strprintf("disk '%s'", target);
    return refuse(name.c_str(), {
        {source->encryption != nullptr, "encryption"},
        {source->fdgroup != nullptr, "an fd group"},
        {source->pr != nullptr, "persistent reservations"},
        {source->sliceStorage != nullptr, "a slice"},
        {source->nseclabels > 0, "a security label"},
        {source->metadataCacheMaxSize > 0, "a metadata cache size"},
        {virStorageSourceHasBacking(source), "an explicit backing store"},
    });
}

Result<void> checkDiskDriver(const virDomainDiskDef *disk)
{
    const std::string name = strprintf("disk '%s'", disk->dst);
    return refuse(name.c_str(), {
        {disk->driverName && !STREQ(disk->driverName, "qemu"), "a driver other than 'qemu'"},
        // Others than QEMU's own threads would write guest memory past write protection.
        {disk->iomode == VIR_DOMAIN_DISK_IO_NATIVE, "io='native' (its writes into guest memory cannot be tracked)"},
        {disk->iomode == VIR_DOMAIN_DISK_IO_URING, "io='io_uring' (its writes into guest memory cannot be tracked)"},
        {disk->iothread > 0, "an iothread"},
        {hasIoTune(disk->blkdeviotune), "iotune"},
        {disk->copy_on_read == VIR_TRISTATE_SWITCH_ON, "copy_on_read"},
        {disk->transient, "transient"},
        {disk->src->shared && disk->src->format == VIR_STORAGE_FILE_QCOW2, "shareable in format 'qcow2'"},
        {disk->startupPolicy != VIR_DOMAIN_STARTUP_POLICY_DEFAULT &&
             disk->startupPolicy != VIR_DOMAIN_STARTUP_POLICY_MANDATORY, "a startupPolicy"},
        {disk->rawio == VIR_TRISTATE_BOOL_YES, "rawio"},
        {disk->sgio != VIR_DOMAIN_DEVICE_SGIO_DEFAULT, "sgio"},
        {disk->removable == VIR_TRISTATE_SWITCH_ON, "removable"},
        {disk->geometry.cylinders > 0 || disk->geometry.trans != VIR_DOMAIN_DISK_TRANS_DEFAULT, "a geometry"},
        {disk->tray_status == VIR_DOMAIN_DISK_TRAY_OPEN, "an open tray"},
        {disk->domain_name != nullptr, "a backend domain"},
        {disk->wwn || disk->vendor || disk->product, "a wwn, vendor or product"},
        {disk->rotation_rate > 0, "a rotation rate"},
        {disk->queues > 0 || disk->queue_size > 0, "queues"},
        {disk->model != VIR_DOMAIN_DISK_MODEL_DEFAULT && disk->model != VIR_DOMAIN_DISK_MODEL_VIRTIO, "this model"},
        {disk->ioeventfd != VIR_TRISTATE_SWITCH_ABSENT, "ioeventfd"},
        {disk->event_idx != VIR_TRISTATE_SWITCH_ABSENT, "event_idx"},
        {hasVirtioOptions(disk->virtio), "virtio options"},
    });
}

/// An address that the disk's bus has. Its type is what libvirt's parser made sure of.
Result<void> checkDriveAddress(const virDomainDiskDef *disk)
{
    const virDomainDeviceDriveAddress &drive = disk->info.addr.drive;
    const bool ide = disk->bus == VIR_DOMAIN_DISK_BUS_IDE;
    if (ide && drive.controller > 0)
        return unsupported("a second IDE controller");
    if (drive.bus > (ide ? 1 : 0) || drive.target > 0 || drive.unit > (ide ? 1 : 5))
        return makeError(ErrorCode::InvalidArgument,
                         ide ? tr("disk '%s': an IDE controller has buses 0 and 1 with units 0 and 1")
                             : tr("disk '%s': a SATA controller has bus 0 with units 0 to 5"),
                         disk->dst);
    return {};
}

Result<void> checkDisk(const virDomainDef *def, const virDomainDiskDef *disk)
{
    if (disk->device != VIR_DOMAIN_DISK_DEVICE_DISK && disk->device != VIR_DOMAIN_DISK_DEVICE_CDROM)
        return unsupported(strprintf("disk device '%s'", virDomainDiskDeviceTypeToString(disk->device)));
    const bool cdrom = disk->device == VIR_DOMAIN_DISK_DEVICE_CDROM;
    switch (disk->bus) {
    case VIR_DOMAIN_DISK_BUS_VIRTIO:
        if (cdrom)
            return unsupported("a cdrom on bus 'virtio'");
        break;
    case VIR_DOMAIN_DISK_BUS_IDE:
        if (isQ35(def))
            return unsupported("disk bus 'ide' on machine q35");
        TRY(checkDriveAddress(disk));
        break;
    case VIR_DOMAIN_DISK_BUS_SATA: TRY(checkDriveAddress(disk)); break;
    default: return unsupported(strprintf("disk bus '%s'", virDomainDiskBusTypeToString(disk->bus)));
    }
    if (!cdrom && disk->src->readonly && disk->bus != VIR_DOMAIN_DISK_BUS_VIRTIO)
        return unsupported("a read-only disk on bus 'ide' or 'sata'");
    TRY(checkDiskSource(disk));
    return checkDiskDriver(disk);
}

// ---- network --------------------------------------------------------------------------

Result<void> checkNic(const virDomainNetDef *net)
{
    const auto actual = virDomainNetGetActualType(net);
    if (net->type != VIR_DOMAIN_NET_TYPE_USER && net->type != VIR_DOMAIN_NET_TYPE_BRIDGE &&
        net->type != VIR_DOMAIN_NET_TYPE_ETHERNET && net->type != VIR_DOMAIN_NET_TYPE_NETWORK)
        return unsupported(strprintf("interface type '%s'", virDomainNetTypeToString(net->type)));
    if (net->type == VIR_DOMAIN_NET_TYPE_NETWORK && actual != VIR_DOMAIN_NET_TYPE_NETWORK &&
        actual != VIR_DOMAIN_NET_TYPE_BRIDGE)
        return unsupported(strprintf("a network that gives interface type '%s'", virDomainNetTypeToString(actual)));
    if (net->model != VIR_DOMAIN_NET_MODEL_VIRTIO && net->model != VIR_DOMAIN_NET_MODEL_E1000 &&
        net->model != VIR_DOMAIN_NET_MODEL_RTL8139) {
        const char *model = virDomainNetGetModelString(net);
        return unsupported(strprintf("interface model '%s'", model ? model : ""));
    }
    const auto &driver = net->driver.virtio;
    return refuse("an interface", {
        {driver.name == VIR_DOMAIN_NET_DRIVER_TYPE_VHOST, "driver 'vhost'"},
        {driver.queues > 1 || driver.rx_queue_size || driver.tx_queue_size, "queues"},
        {driver.txmode != VIR_DOMAIN_NET_VIRTIO_TX_MODE_DEFAULT || driver.ioeventfd != VIR_TRISTATE_SWITCH_ABSENT ||
             driver.event_idx != VIR_TRISTATE_SWITCH_ABSENT || driver.host.csum || driver.host.gso || driver.host.tso4 ||
             driver.host.tso6 || driver.host.ecn || driver.host.ufo || driver.host.mrg_rxbuf || driver.guest.csum ||
             driver.guest.tso4 || driver.guest.tso6 || driver.guest.ecn || driver.guest.ufo || driver.rss ||
             driver.rss_hash_report, "driver options"},
        {hasVirtioOptions(net->virtio), "virtio options"},
        {net->backend.type != VIR_DOMAIN_NET_BACKEND_DEFAULT || net->backend.tap || net->backend.vhost, "a backend"},
        {net->nPortForwards > 0, "port forwards"},
        {net->teaming != nullptr, "teaming"},
        {net->filter != nullptr, "a network filter"},
        {net->bandwidth != nullptr, "a bandwidth limit"},
        {net->vlan.nTags > 0, "a VLAN tag"},
        {net->virtPortProfile != nullptr, "a virtual port"},
        {net->coalesce != nullptr, "coalescing"},
        {net->mtu > 0, "an MTU"},
        {net->tune.sndbuf_specified, "a send buffer size"},
        {net->script || net->downscript, "a script"},
        {net->hostIP.nips || net->hostIP.nroutes || net->guestIP.nips || net->guestIP.nroutes, "addresses or routes"},
        {net->trustGuestRxFilters == VIR_TRISTATE_BOOL_YES, "trustGuestRxFilters"},
        {net->isolatedPort == VIR_TRISTATE_BOOL_YES, "an isolated port"},
        {net->ifname_guest || net->ifname_guest_actual, "a name in the guest"},
        {net->domain_name != nullptr, "a backend domain"},
        {net->sourceDev != nullptr, "a source device"},
    });
}

// ---- character devices ----------------------------------------------------------------

Result<void> checkCharacterSource(const char *device, const virDomainChrSourceDef *source)
{
    switch (source->type) {
    case VIR_DOMAIN_CHR_TYPE_NULL:
    case VIR_DOMAIN_CHR_TYPE_PTY:
    case VIR_DOMAIN_CHR_TYPE_FILE:
    case VIR_DOMAIN_CHR_TYPE_UNIX:
        if (source->nseclabels > 0)
            return unsupported(strprintf("a %s with a security label", device));
        return {};
    default: return unsupported(strprintf("a %s of type '%s'", device, virDomainChrTypeToString(source->type)));
    }
}

Result<void> checkCharacterDevices(const virDomainDef *def)
{
    for (size_t i = 0; i < def->nserials; i++) {
        const virDomainChrDef *serial = def->serials[i];
        if (serial->targetType != VIR_DOMAIN_CHR_SERIAL_TARGET_TYPE_ISA ||
            serial->targetModel != VIR_DOMAIN_CHR_SERIAL_TARGET_MODEL_ISA_SERIAL)
            return unsupported(strprintf("a serial port of type '%s'", virDomainChrSerialTargetTypeToString(serial->targetType)));
        if (serial->target.port < 0 || serial->target.port > 3)
            return makeError(ErrorCode::InvalidArgument, tr("serial port %d: a machine has ports 0 to 3"), serial->target.port);
        TRY(checkCharacterSource("serial port", serial->source));
    }
    for (size_t i = 0; i < def->nconsoles; i++) {
        const virDomainChrDef *console = def->consoles[i];
        if (console->targetType != VIR_DOMAIN_CHR_CONSOLE_TARGET_TYPE_SERIAL &&
            console->targetType != VIR_DOMAIN_CHR_CONSOLE_TARGET_TYPE_VIRTIO)
            return unsupported(strprintf("a console of type '%s'", virDomainChrConsoleTargetTypeToString(console->targetType)));
        TRY(checkCharacterSource("console", console->source));
    }
    for (size_t i = 0; i < def->nchannels; i++) {
        const virDomainChrDef *channel = def->channels[i];
        // libvirt exports no function for these names.
        if (channel->targetType != VIR_DOMAIN_CHR_CHANNEL_TARGET_TYPE_VIRTIO)
            return unsupported(channel->targetType == VIR_DOMAIN_CHR_CHANNEL_TARGET_TYPE_GUESTFWD ? "a channel of type 'guestfwd'"
                               : channel->targetType == VIR_DOMAIN_CHR_CHANNEL_TARGET_TYPE_XEN    ? "a channel of type 'xen'"
                                                                                                  : "a channel without a type");
        TRY(checkCharacterSource("channel", channel->source));
    }
    return {};
}

// ---- display, input and the rest --------------------------------------------------------

Result<void> checkGraphics(const virDomainDef *def)
{
    if (def->ngraphics > 1)
        return unsupported("more than one graphics device");
    if (def->ngraphics == 0)
        return {};
    const virDomainGraphicsDef *graphics = def->graphics[0];
    if (graphics->type != VIR_DOMAIN_GRAPHICS_TYPE_VNC)
        return unsupported(strprintf("graphics of type '%s'", virDomainGraphicsTypeToString(graphics->type)));
    const auto &vnc = graphics->data.vnc;
    if (graphics->nListens > 1)
        return unsupported("VNC with more than one listen address");
    if (!vnc.autoport && vnc.port > 0 && vnc.port < 5900)
        return makeError(ErrorCode::InvalidArgument, tr("VNC port %d: the lowest is 5900"), vnc.port);
    return refuse("VNC", {
        {graphics->nListens == 1 && graphics->listens[0].type == VIR_DOMAIN_GRAPHICS_LISTEN_TYPE_NETWORK,
         "a listen type 'network'"},
        {graphics->nListens == 1 && graphics->listens[0].type == VIR_DOMAIN_GRAPHICS_LISTEN_TYPE_SOCKET &&
             !graphics->listens[0].socket, "a listen type 'socket' without a path"},
        {vnc.websocket != 0, "a websocket"},
        {vnc.auth.connected != VIR_DOMAIN_GRAPHICS_AUTH_CONNECTED_DEFAULT, "an action on a connected client"},
        {vnc.audioId != 0, "audio"},
    });
}

Result<void> checkVideo(const virDomainDef *def)
{
    if (def->nvideos > 1)
        return unsupported("more than one video device");
    if (def->nvideos == 0)
        return {};
    const virDomainVideoDef *video = def->videos[0];
    switch (video->type) {
    case VIR_DOMAIN_VIDEO_TYPE_VGA:
    case VIR_DOMAIN_VIDEO_TYPE_CIRRUS:
    case VIR_DOMAIN_VIDEO_TYPE_VIRTIO:
    case VIR_DOMAIN_VIDEO_TYPE_BOCHS:
    case VIR_DOMAIN_VIDEO_TYPE_NONE: break;
    default: return unsupported(strprintf("video model '%s'", virDomainVideoTypeToString(video->type)));
    }
    const virDomainVideoAccelDef *accel = video->accel;
    return refuse("video", {
        {accel && (accel->accel3d == VIR_TRISTATE_BOOL_YES || accel->accel2d == VIR_TRISTATE_BOOL_YES), "acceleration"},
        {video->backend == VIR_DOMAIN_VIDEO_BACKEND_TYPE_VHOSTUSER, "a vhost-user backend"},
        {video->res != nullptr, "a resolution"},
        {video->driver != nullptr, "driver options"},
        {hasVirtioOptions(video->virtio), "virtio options"},
    });
}

Result<void> checkInput(const virDomainInputDef *input)
{
    if (input->type == VIR_DOMAIN_INPUT_TYPE_PASSTHROUGH || input->type == VIR_DOMAIN_INPUT_TYPE_EVDEV)
        return unsupported(strprintf("input of type '%s'", virDomainInputTypeToString(input->type)));
    if (input->bus == VIR_DOMAIN_INPUT_BUS_PS2 && input->type == VIR_DOMAIN_INPUT_TYPE_TABLET)
        return unsupported("a tablet on bus 'ps2'");
    if (input->bus != VIR_DOMAIN_INPUT_BUS_PS2 && input->bus != VIR_DOMAIN_INPUT_BUS_USB &&
        input->bus != VIR_DOMAIN_INPUT_BUS_VIRTIO)
        return unsupported(strprintf("input bus '%s'", virDomainInputBusTypeToString(input->bus)));
    if (input->model != VIR_DOMAIN_INPUT_MODEL_DEFAULT && input->model != VIR_DOMAIN_INPUT_MODEL_VIRTIO)
        return unsupported("input with this model");
    if (hasVirtioOptions(input->virtio))
        return unsupported("input with virtio options");
    return {};
}

Result<void> checkPciController(const virDomainDef *def, const virDomainControllerDef *controller)
{
    const int root = isQ35(def) ? VIR_DOMAIN_CONTROLLER_MODEL_PCIE_ROOT : VIR_DOMAIN_CONTROLLER_MODEL_PCI_ROOT;
    if (controller->idx != 0 || controller->model != root)
        return unsupported(strprintf("PCI controller '%s'", virDomainControllerModelPCITypeToString(controller->model)));
    return {};
}

/// A controller of the chipset stands where it stands.
Result<void> checkChipsetAddress(const virDomainControllerDef *controller, unsigned slot, unsigned function)
{
    const virPCIDeviceAddress &pci = controller->info.addr.pci;
    if (controller->info.type == VIR_DOMAIN_DEVICE_ADDRESS_TYPE_PCI && (pci.slot != slot || pci.function != function))
        return makeError(ErrorCode::InvalidArgument, tr("controller '%s' number 0 has the PCI address 0000:00:%02x.%u"),
                         virDomainControllerTypeToString(controller->type), slot, function);
    return {};
}

Result<void> checkUsbController(const virDomainControllerDef *controller)
{
    if (controller->opts.usbopts.ports > 0 && controller->model != VIR_DOMAIN_CONTROLLER_MODEL_USB_NEC_XHCI &&
        controller->model != VIR_DOMAIN_CONTROLLER_MODEL_USB_QEMU_XHCI)
        return unsupported("a USB controller other than xHCI with a number of ports");
    switch (controller->model) {
    case VIR_DOMAIN_CONTROLLER_MODEL_USB_PIIX3_UHCI:
    case VIR_DOMAIN_CONTROLLER_MODEL_USB_EHCI:
    case VIR_DOMAIN_CONTROLLER_MODEL_USB_ICH9_EHCI1:
    case VIR_DOMAIN_CONTROLLER_MODEL_USB_ICH9_UHCI1:
    case VIR_DOMAIN_CONTROLLER_MODEL_USB_ICH9_UHCI2:
    case VIR_DOMAIN_CONTROLLER_MODEL_USB_ICH9_UHCI3:
    case VIR_DOMAIN_CONTROLLER_MODEL_USB_NEC_XHCI:
    case VIR_DOMAIN_CONTROLLER_MODEL_USB_QEMU_XHCI:
    case VIR_DOMAIN_CONTROLLER_MODEL_USB_NONE: return {};
    default:
        return unsupported(strprintf("USB controller '%s'", virDomainControllerModelUSBTypeToString(controller->model)));
    }
}

Result<void> checkController(const virDomainDef *def, const virDomainControllerDef *controller)
{
    const char *type = virDomainControllerTypeToString(controller->type);
    if (controller->queues || controller->cmd_per_lun || controller->max_sectors || controller->iothread ||
        controller->ioeventfd != VIR_TRISTATE_SWITCH_ABSENT || hasVirtioOptions(controller->virtio))
        return unsupported(strprintf("controller '%s' with driver options", type));
    switch (controller->type) {
    case VIR_DOMAIN_CONTROLLER_TYPE_PCI: return checkPciController(def, controller);
    case VIR_DOMAIN_CONTROLLER_TYPE_USB: return checkUsbController(controller);
    case VIR_DOMAIN_CONTROLLER_TYPE_IDE:
        if (isQ35(def) || controller->idx != 0)
            return unsupported("this IDE controller");
        return checkChipsetAddress(controller, 1, 1);
    case VIR_DOMAIN_CONTROLLER_TYPE_SATA:
        if (isQ35(def) && controller->idx == 0)
            return checkChipsetAddress(controller, 0x1f, 2);
        return {};
    case VIR_DOMAIN_CONTROLLER_TYPE_VIRTIO_SERIAL:
        if (controller->model > 0 && controller->model != VIR_DOMAIN_CONTROLLER_MODEL_VIRTIO_SERIAL_VIRTIO)
            return unsupported("this model of controller 'virtio-serial'");
        return {};
    default: return unsupported(strprintf("controller '%s'", type));
    }
}

Result<void> checkRng(const virDomainRNGDef *rng)
{
    if (rng->model != VIR_DOMAIN_RNG_MODEL_VIRTIO)
        return unsupported(strprintf("rng model '%s'", virDomainRNGModelTypeToString(rng->model)));
    if (rng->backend != VIR_DOMAIN_RNG_BACKEND_RANDOM && rng->backend != VIR_DOMAIN_RNG_BACKEND_BUILTIN)
        return unsupported(strprintf("rng backend '%s'", virDomainRNGBackendTypeToString(rng->backend)));
    if (hasVirtioOptions(rng->virtio))
        return unsupported("rng with virtio options");
    return {};
}

Result<void> checkBalloonAndWatchdog(const virDomainDef *def)
{
    const virDomainMemballoonDef *balloon = def->memballoon;
    if (balloon && balloon->model != VIR_DOMAIN_MEMBALLOON_MODEL_VIRTIO &&
        balloon->model != VIR_DOMAIN_MEMBALLOON_MODEL_NONE)
        return unsupported(strprintf("memballoon model '%s'", virDomainMemballoonModelTypeToString(balloon->model)));
    if (balloon && hasVirtioOptions(balloon->virtio))
        return unsupported("memballoon with virtio options");
    const virDomainWatchdogDef *watchdog = def->watchdog;
    if (watchdog && watchdog->model != VIR_DOMAIN_WATCHDOG_MODEL_I6300ESB &&
        watchdog->model != VIR_DOMAIN_WATCHDOG_MODEL_IB700)
        return unsupported(strprintf("watchdog model '%s'", virDomainWatchdogModelTypeToString(watchdog->model)));
    if (watchdog && watchdog->action == VIR_DOMAIN_WATCHDOG_ACTION_DUMP)
        return unsupported("watchdog action 'dump'");
    return {};
}

// ---- addresses ------------------------------------------------------------------------

/// The type of address that the command line gives this device; NONE: it gives none.
int addressType(const virDomainDeviceDef *device)
{
    switch (device->type) {
    case VIR_DOMAIN_DEVICE_DISK:
        return device->data.disk->bus == VIR_DOMAIN_DISK_BUS_VIRTIO ? VIR_DOMAIN_DEVICE_ADDRESS_TYPE_PCI
                                                                    : VIR_DOMAIN_DEVICE_ADDRESS_TYPE_DRIVE;
    case VIR_DOMAIN_DEVICE_INPUT:
        return device->data.input->bus == VIR_DOMAIN_INPUT_BUS_USB      ? VIR_DOMAIN_DEVICE_ADDRESS_TYPE_USB
               : device->data.input->bus == VIR_DOMAIN_INPUT_BUS_VIRTIO ? VIR_DOMAIN_DEVICE_ADDRESS_TYPE_PCI
                                                                        : VIR_DOMAIN_DEVICE_ADDRESS_TYPE_NONE;
    case VIR_DOMAIN_DEVICE_CHR:
        return device->data.chr->deviceType == VIR_DOMAIN_CHR_DEVICE_TYPE_SERIAL
                   ? VIR_DOMAIN_DEVICE_ADDRESS_TYPE_NONE
                   : VIR_DOMAIN_DEVICE_ADDRESS_TYPE_VIRTIO_SERIAL;
    case VIR_DOMAIN_DEVICE_WATCHDOG:
        return device->data.watchdog->model == VIR_DOMAIN_WATCHDOG_MODEL_I6300ESB ? VIR_DOMAIN_DEVICE_ADDRESS_TYPE_PCI
                                                                                  : VIR_DOMAIN_DEVICE_ADDRESS_TYPE_NONE;
    default: return VIR_DOMAIN_DEVICE_ADDRESS_TYPE_PCI;
    }
}

Result<void> checkAddresses(const virDomainDef *def)
{
    const auto visit = [](virDomainDef *, virDomainDeviceDef *device, virDomainDeviceInfo *info, void *opaque) {
        auto &result = *static_cast<Result<void> *>(opaque);
        const char *name = virDomainDeviceTypeToString(device->type);
        if (info->acpiIndex > 0)
            result = unsupported(strprintf("device '%s' with an ACPI index", name));
        else if (info->type != VIR_DOMAIN_DEVICE_ADDRESS_TYPE_NONE && info->type != addressType(device))
            result = unsupported(strprintf("device '%s' with an address of type '%s'", name,
                                           virDomainDeviceAddressTypeToString(info->type)));
        return result ? 0 : -1;
    };
    Result<void> result;
    (void)virDomainDeviceInfoIterate(const_cast<virDomainDef *>(def), visit, &result);
    return result;
}

} // namespace

Result<void> checkDevices(const virDomainDef *def)
{
    TRY(checkAbsent(def));
    // Before the controllers, of which some are there for their disks only.
    for (size_t i = 0; i < def->ndisks; i++)
        TRY(checkDisk(def, def->disks[i]));
    for (size_t i = 0; i < def->ncontrollers; i++)
        TRY(checkController(def, def->controllers[i]));
    for (size_t i = 0; i < def->nnets; i++)
        TRY(checkNic(def->nets[i]));
    TRY(checkCharacterDevices(def));
    TRY(checkGraphics(def));
    TRY(checkVideo(def));
    for (size_t i = 0; i < def->ninputs; i++)
        TRY(checkInput(def->inputs[i]));
    for (size_t i = 0; i < def->nrngs; i++)
        TRY(checkRng(def->rngs[i]));
    TRY(checkBalloonAndWatchdog(def));
    return checkAddresses(def);
}

} // namespace godwit::hypervisor::machine
