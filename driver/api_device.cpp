// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/job.h"
#include "driver/api.h"
#include "driver/config_change.h"
#include "driver/connection.h"
#include "driver/entry.h"

namespace godwit::driver {

// Devices that come and go: in a persistent definition, and of a running guest as far as its
// hypervisor does that.

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::tr;
using domain::Domain;
using domain::Job;

using Device = std::unique_ptr<virDomainDeviceDef, conf::FreeWith<virDomainDeviceDefFree>>;

static base::Error unsupportedType(const Device &device)
{
    return makeError(ErrorCode::Unsupported,
                     tr("devices of type '%s' come and go with a whole definition only, not one by one"),
                     virDomainDeviceTypeToString(device->type));
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
    case VIR_DOMAIN_DEVICE_HOSTDEV:
        if (virDomainHostdevFind(def, device->data.hostdev, nullptr) >= 0)
            return makeError(ErrorCode::OperationInvalid, tr("domain '%s' has this host device already"), def->name);
        TRY(conf::check(virDomainHostdevInsert(def, device->data.hostdev)));
        device->data.hostdev = nullptr;
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

/// The definition's own: what was taken from the host is known by its address, which `named` may lack.
static Result<size_t> hostDeviceIndex(virDomainDef *def, virDomainHostdevDef *named, virDomainHostdevDef **own = nullptr)
{
    const int index = virDomainHostdevFind(def, named, own);
    if (index < 0)
        return makeError(ErrorCode::OperationInvalid, tr("domain '%s' has no such host device"), def->name);
    return static_cast<size_t>(index);
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
    case VIR_DOMAIN_DEVICE_HOSTDEV:
        virDomainHostdevDefFree(virDomainHostdevRemove(def, TRY(hostDeviceIndex(def, device->data.hostdev))));
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

/// A change of a definition, which may take the device over, and of a running guest.
struct Change {
    Result<void> (*definition)(virDomainDef *, Device &);
    Result<void> (hypervisor::Guest::*guest)(const virDomainDef *, virDomainDeviceDef *);
};
static constexpr Change plugIn{attach, &hypervisor::Guest::attachDevice};
static constexpr Change unplug{detach, &hypervisor::Guest::detachDevice};
static constexpr Change replace{update, &hypervisor::Guest::updateDevice};

static Result<Device> parseDevice(const Domain &domain, const char *xml, const virDomainDef *shape)
{
    Device device(virDomainDeviceDefParse(xml, shape, domain.host().xmlOption(), nullptr,
                                          VIR_DOMAIN_DEF_PARSE_INACTIVE));
    if (!device)
        return conf::takeLibvirtError();
    return device;
}

/// What a definition refuses to have a second time never reaches the guest.
static Result<void> tryAttach(Domain &domain, const char *xml)
{
    conf::DomainDef trial(virDomainDefCopy(domain.def(), domain.host().xmlOption(), nullptr, false));
    if (!trial)
        return conf::takeLibvirtError();
    Device device = TRY(parseDevice(domain, xml, domain.def()));
    return attach(trial.get(), device);
}

static Result<void> changeGuest(Domain &domain, const char *xml, const Change &change)
{
    auto guest = TRY(domain.guest());
    Device device = TRY(parseDevice(domain, xml, domain.def()));
    if (change.definition == attach)
        TRY(tryAttach(domain, xml));
    virDomainDeviceDef exact = *device;
    if (change.definition == detach && device->type == VIR_DOMAIN_DEVICE_HOSTDEV)
        TRY(hostDeviceIndex(domain.def(), device->data.hostdev, &exact.data.hostdev));
    const virDomainDef *def = domain.def();
    domain::Services &services = domain.host().services();
    if (change.definition == attach)
        TRY(services.takeDevice(domain, &exact));
    auto changed = domain.unlocked([&] { return (guest.get()->*change.guest)(def, &exact); });
    const bool stays = changed && domain.active();
    if (change.definition == attach ? !stays : change.definition == detach && stays)
        services.giveDeviceBack(domain, &exact);
    TRY(std::move(changed));
    TRY(domain.requireActive());
    TRY(change.definition(domain.def(), device));
    TRY(domain.host().hypervisor().assignAliases(domain.def()));
    domain.saveStatus();
    return {};
}

/// What all three have in common.
static Result<void> changeDevice(Domain &domain, const char *xml, unsigned flags, const Change &change)
{
    auto job = TRY(Job::begin(domain, VIR_JOB_MODIFY));
    const AffectedDefs defs = TRY(affectedDefs(domain, flags));
    const bool config = defs.config;
    if (defs.live)
        TRY(changeGuest(domain, xml, change));
    if (!config)
        return {};
    Device device = TRY(parseDevice(domain, xml, defs.config));
    return changeConfig(domain, [&](virDomainDef *def) { return change.definition(def, device); });
}

static Result<void> attachDeviceFlags(virDomainPtr handle, const char *xml, unsigned flags)
{
    TRY(checkFlags(flags, impactFlags));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainAttachDeviceFlagsEnsureACL>(handle, domain, flags));
    return changeDevice(domain, xml, flags, plugIn);
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
    return changeDevice(domain, xml, flags, unplug);
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
    return changeDevice(domain, xml, flags, replace);
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
