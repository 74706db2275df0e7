// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/machine/command_line.h"

#include "base/strprintf.h"
#include "hypervisor/machine/machine_type.h"

namespace godwit::hypervisor::machine {

using base::Result;
using base::strprintf;

namespace {

/// What a cache mode means to QEMU.
struct CacheMode {
    bool direct = false;
    bool noFlush = false;
    bool writeCache = true;
};

CacheMode cacheMode(int mode)
{
    switch (mode) {
    case VIR_DOMAIN_DISK_CACHE_DISABLE: return {true, false, true};
    case VIR_DOMAIN_DISK_CACHE_WRITETHRU: return {false, false, false};
    case VIR_DOMAIN_DISK_CACHE_DIRECTSYNC: return {true, false, false};
    case VIR_DOMAIN_DISK_CACHE_UNSAFE: return {false, true, true};
    default: return {};
    }
}

bool isReadOnly(const virDomainDiskDef *disk)
{
    return disk->device == VIR_DOMAIN_DISK_DEVICE_CDROM || disk->src->readonly;
}

bool isEmpty(const virDomainDiskDef *disk)
{
    return virStorageSourceIsEmpty(disk->src);
}

/// The node names of disk number `index`: QEMU allows them 31 characters, aliases have more.
std::string storageNode(size_t index) { return strprintf("disk%zu-storage", index); }
std::string formatNode(size_t index) { return strprintf("disk%zu-format", index); }

void addNodes(ArgumentList &arguments, const virDomainDiskDef *disk, size_t index)
{
    const CacheMode cache = cacheMode(disk->cachemode);
    const bool readOnly = isReadOnly(disk);
    Options storage;
    storage.add("driver", disk->src->type == VIR_STORAGE_TYPE_BLOCK ? "host_device" : "file");
    storage.add("filename", disk->src->path).add("node-name", storageNode(index));
    // Only QEMU's own threads may touch guest memory behind the vCPUs' back: a write by the
    // kernel's asynchronous I/O would escape write protection.
    storage.add("aio", "threads");
    Options format;
    format.add("driver", disk->src->format == VIR_STORAGE_FILE_QCOW2 ? "qcow2" : "raw");
    format.add("node-name", formatNode(index)).add("file", storageNode(index));
    for (Options *node : {&storage, &format}) {
        node->add("read-only", readOnly);
        node->add("cache.direct", cache.direct).add("cache.no-flush", cache.noFlush);
        if (disk->discard != VIR_DOMAIN_DISK_DISCARD_DEFAULT)
            node->add("discard", virDomainDiskDiscardTypeToString(disk->discard));
    }
    if (disk->detect_zeroes != VIR_DOMAIN_DISK_DETECT_ZEROES_DEFAULT)
        format.add("detect-zeroes", virDomainDiskDetectZeroesTypeToString(disk->detect_zeroes));
    arguments.option("-blockdev", storage);
    arguments.option("-blockdev", format);
}

/// QEMU's bus and unit for an IDE or SATA disk.
void addDriveAddress(Options &device, const virDomainDef *def, const virDomainDiskDef *disk)
{
    const virDomainDeviceDriveAddress &drive = disk->info.addr.drive;
    if (disk->bus == VIR_DOMAIN_DISK_BUS_IDE)
        device.add("bus", strprintf("ide.%u", drive.bus)).add("unit", drive.unit);
    else if (isQ35(def) && drive.controller == 0)
        device.add("bus", strprintf("ide.%u", drive.unit));
    else
        device.add("bus", strprintf("sata%u.%u", drive.controller, drive.unit));
}

void addErrorPolicy(Options &device, const virDomainDiskDef *disk)
{
    const int onWrite = disk->error_policy;
    int onRead = disk->rerror_policy;
    if (onRead == VIR_DOMAIN_DISK_ERROR_POLICY_DEFAULT && onWrite != VIR_DOMAIN_DISK_ERROR_POLICY_ENOSPACE)
        onRead = onWrite;
    if (onWrite == VIR_DOMAIN_DISK_ERROR_POLICY_ENOSPACE)
        device.add("werror", "enospc");
    else if (onWrite != VIR_DOMAIN_DISK_ERROR_POLICY_DEFAULT)
        device.add("werror", virDomainDiskErrorPolicyTypeToString(onWrite));
    if (onRead != VIR_DOMAIN_DISK_ERROR_POLICY_DEFAULT)
        device.add("rerror", virDomainDiskErrorPolicyTypeToString(onRead));
}

void addDevice(ArgumentList &arguments, const virDomainDef *def, const virDomainDiskDef *disk, size_t index)
{
    const bool cdrom = disk->device == VIR_DOMAIN_DISK_DEVICE_CDROM;
    const bool virtio = disk->bus == VIR_DOMAIN_DISK_BUS_VIRTIO;
    Options device(virtio ? "virtio-blk-pci" : cdrom ? "ide-cd" : "ide-hd");
    if (virtio)
        addPciAddress(device, def, disk->info);
    else
        addDriveAddress(device, def, disk);
    if (!isEmpty(disk))
        device.add("drive", formatNode(index));
    device.add("id", disk->info.alias);
    if (const unsigned boot = bootIndexOf(def, disk->info))
        device.add("bootindex", boot);
    if (!isReadOnly(disk))
        device.add("write-cache", cacheMode(disk->cachemode).writeCache);
    if (disk->blockio.logical_block_size)
        device.add("logical_block_size", disk->blockio.logical_block_size);
    if (disk->blockio.physical_block_size)
        device.add("physical_block_size", disk->blockio.physical_block_size);
    if (disk->serial)
        device.add("serial", disk->serial);
    addErrorPolicy(device, disk);
    arguments.option("-device", device);
}

} // namespace

Result<void> addDisks(ArgumentList &arguments, const virDomainDef *def)
{
    for (size_t i = 0; i < def->ndisks; i++) {
        if (!isEmpty(def->disks[i]))
            addNodes(arguments, def->disks[i], i);
        addDevice(arguments, def, def->disks[i], i);
    }
    return {};
}

} // namespace godwit::hypervisor::machine
