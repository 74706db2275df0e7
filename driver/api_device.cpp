// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/job.h"
#include "driver/api.h"
#include "driver/config_change.h"
#include "driver/connection.h"
#include "driver/entry.h"

namespace godwit::driver {

// Devices that come and go: in a persistent definition. A running guest keeps what it has.

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::tr;
using domain::Domain;
using domain::Job;

using Device = std::unique_ptr<virDomainDeviceDef, conf::FreeWith<virDomainDeviceDefFree>>;

static const char *typeName(const Device &device)
{
    return virDomainDeviceTypeToString(device->type);
}

static base::Error unsupportedType(const Device &device)
{
    return makeError(ErrorCode::Unsupported,
                     tr("devices of type '%s' come and go with a whole definition only, not one by one"),
                     typeName(device));
}

static Result<void> attach(virDomainDef *def, Device &device)
{
    switch (device->type) {
    case VIR_DOMAIN_DEVICE_DISK:
        if (virDomainDiskIndexByName(def, device->data.disk->dst, true) >= 0)
            return makeError(ErrorCode::OperationInvalid, tr("domain '%s' has a disk '%s' already"), def->name,
                             device->data.disk->dst);
        virDomainDiskInsert(def, std::exchange(device->data.disk, nullptr));
        return {};
    case VIR_DOMAIN_DEVICE_NET:
        TRY(conf::check(virDomainNetInsert(def, device->data.net)));
        device->data.net = nullptr;
        return {};
    default: return unsupportedType(device);
    }
}

static Result<size_t> diskIndex(virDomainDef *def, const char *target)
{
    const int index = virDomainDiskIndexByName(def, target, false);
    if (index < 0)
        return makeError(ErrorCode::OperationInvalid, tr("domain '%s' has no disk '%s'"), def->name, target);
    return static_cast<size_t>(index);
}

static Result<size_t> netIndex(virDomainDef *def, virDomainNetDef *net)
{
    return static_cast<size_t>(TRY(number(virDomainNetFindIdx(def, net))));
}

static Result<void> detach(virDomainDef *def, Device &device)
{
    switch (device->type) {
    case VIR_DOMAIN_DEVICE_DISK:
        virDomainDiskDefFree(virDomainDiskRemove(def, TRY(diskIndex(def, device->data.disk->dst))));
        return {};
    case VIR_DOMAIN_DEVICE_NET:
        virDomainNetDefFree(virDomainNetRemove(def, TRY(netIndex(def, device->data.net))));
        return {};
    default: return unsupportedType(device);
    }
}

/// A replacement that names no address stands where the old device stood.
static void keepAddress(virDomainDeviceInfo &replacement, const virDomainDeviceInfo &old, bool sameBus)
{
    if (sameBus && replacement.type == VIR_DOMAIN_DEVICE_ADDRESS_TYPE_NONE) {
        replacement.type = old.type;
        replacement.addr = old.addr;
    }
}

static Result<void> update(virDomainDef *def, Device &device)
{
    switch (device->type) {
    case VIR_DOMAIN_DEVICE_DISK: {
        virDomainDiskDef *&disk = def->disks[TRY(diskIndex(def, device->data.disk->dst))];
        keepAddress(device->data.disk->info, disk->info, disk->bus == device->data.disk->bus);
        std::swap(disk, device->data.disk);
        return {};
    }
    case VIR_DOMAIN_DEVICE_NET: {
        virDomainNetDef *&net = def->nets[TRY(netIndex(def, device->data.net))];
        keepAddress(device->data.net->info, net->info, true);
        std::swap(net, device->data.net);
        return {};
    }
    default: return unsupportedType(device);
    }
}

/// What all three have in common. `change` may take the device over.
static Result<void> changeDevice(Domain &domain, const char *xml, unsigned flags,
                                 Result<void> (*change)(virDomainDef *, Device &))
{
    auto job = TRY(Job::begin(domain, VIR_JOB_MODIFY));
    const AffectedDefs defs = TRY(affectedDefs(domain, flags));
    const virDomainDef *shape = defs.live ? defs.live : defs.config;
    Device device(virDomainDeviceDefParse(xml, shape, domain.host().xmlOption(), nullptr,
                                          VIR_DOMAIN_DEF_PARSE_INACTIVE));
    if (!device)
        return conf::takeLibvirtError();
    if (defs.live)
        return makeError(ErrorCode::Unsupported,
                         tr("changing a device of type '%s' of a running domain is not supported, only in its "
                            "persistent definition"),
                         typeName(device));
    return changeConfig(domain, [&](virDomainDef *def) { return change(def, device); });
}

static Result<void> attachDeviceFlags(virDomainPtr handle, const char *xml, unsigned flags)
{
    TRY(checkFlags(flags, impactFlags));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainAttachDeviceFlagsEnsureACL>(handle, domain, flags));
    return changeDevice(domain, xml, flags, attach);
}

static Result<void> attachDevice(virDomainPtr handle, const char *xml)
{
    return attachDeviceFlags(handle, xml, VIR_DOMAIN_AFFECT_LIVE);
}

static Result<void> detachDeviceFlags(virDomainPtr handle, const char *xml, unsigned flags)
{
    TRY(checkFlags(flags, impactFlags));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainDetachDeviceFlagsEnsureACL>(handle, domain, flags));
    return changeDevice(domain, xml, flags, detach);
}

static Result<void> detachDevice(virDomainPtr handle, const char *xml)
{
    return detachDeviceFlags(handle, xml, VIR_DOMAIN_AFFECT_LIVE);
}

static Result<void> updateDeviceFlags(virDomainPtr handle, const char *xml, unsigned flags)
{
    TRY(checkFlags(flags, impactFlags | VIR_DOMAIN_DEVICE_MODIFY_FORCE));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainUpdateDeviceFlagsEnsureACL>(handle, domain, flags));
    return changeDevice(domain, xml, flags, update);
}

void fillDeviceApi(virHypervisorDriver &table)
{
    table.domainAttachDevice = entry<attachDevice>;
    table.domainAttachDeviceFlags = entry<attachDeviceFlags>;
    table.domainDetachDevice = entry<detachDevice>;
    table.domainDetachDeviceFlags = entry<detachDeviceFlags>;
    table.domainUpdateDeviceFlags = entry<updateDeviceFlags>;
}

} // namespace godwit::driver
