// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/services.h"

#include "base/i18n.h"
#include "base/log.h"
#include "conf/libvirt_error.h"
#include "domain/domain.h"
#include "domain/host.h"

namespace godwit::domain {

using base::LogLevel;
using base::Result;
using base::tr;

// As libvirt's driver for Xen says them: what one of the two drivers took, the other gives back.
static constexpr const char *driverName = "xenlight";
static constexpr const char *leaseOwner = "xen:///system";
static constexpr const char *lockConfig = "libxl";   // libxl-lockd.conf
static constexpr unsigned deviceKinds = VIR_HOSTDEV_SP_PCI | VIR_HOSTDEV_SP_USB;

static void warn(const Domain &domain, const base::Error &error)
{
    log(LogLevel::Warning, "domain '%s': %s", domain.def()->name, error.message.c_str());
}

Result<Services> Services::forXen(const conf::Settings &settings)
{
    Services services;
    services.hooks_ = true;
    if (!settings.lockManager.empty()) {
        const std::string folder = settings.configDir.substr(0, settings.configDir.rfind('/'));
        services.locks_.reset(TRY(conf::check(
            virLockManagerPluginNew(settings.lockManager.c_str(), lockConfig, folder.c_str(), 0))));
    }
    services.devices_ = conf::ObjectRef<virHostdevManager>::adopt(TRY(conf::check(virHostdevManagerGetDefault())));
    return services;
}

// ---- hook scripts ------------------------------------------------------------------------

static bool hasHook()
{
    return virHookPresent(VIR_HOOK_DRIVER_LIBXL) == 1;
}

Result<void> Services::hook(const Domain &domain, virHookLibxlOpType operation, virHookSubopType when) const
{
    if (!hooks_ || domain.def()->id == 0 || !hasHook())   // Domain-0 has none
        return {};
    const conf::Text xml = TRY(domain.host().format(domain.def(), 0));
    return conf::check(virHookCall(VIR_HOOK_DRIVER_LIBXL, domain.def()->name, operation, when, nullptr, xml.get(),
                                   nullptr));
}

void Services::tryHook(const Domain &domain, virHookLibxlOpType operation, virHookSubopType when) const
{
    if (auto called = hook(domain, operation, when); !called)
        warn(domain, called.error());
}

Result<conf::DomainDef> Services::filterIncoming(Host &host, conf::DomainDef def)
{
    if (!hooks_ || !hasHook())
        return def;
    const conf::Text xml = TRY(host.format(def.get(), VIR_DOMAIN_DEF_FORMAT_SECURE | VIR_DOMAIN_DEF_FORMAT_MIGRATABLE));
    char *output = nullptr;
    const int called = virHookCall(VIR_HOOK_DRIVER_LIBXL, def->name, VIR_HOOK_LIBXL_OP_MIGRATE, VIR_HOOK_SUBOP_BEGIN,
                                   nullptr, xml.get(), &output);
    const conf::Text filtered(output);
    TRY(conf::check(called));
    if (virStringIsEmpty(filtered.get()))
        return def;
    conf::DomainDef changed =
        TRY_IN(tr("what the hook script makes of the definition"),
               host.parse(filtered.get(), VIR_DOMAIN_DEF_PARSE_INACTIVE | VIR_DOMAIN_DEF_PARSE_SKIP_VALIDATE));
    if (!virDomainDefCheckABIStability(def.get(), changed.get(), host.xmlOption()))
        return conf::takeLibvirtError().in(tr("what the hook script makes of the definition"));
    return changed;
}

// ---- a guest's life ----------------------------------------------------------------------

Result<void> Services::prepare(Domain &domain)
{
    TRY(hook(domain, VIR_HOOK_LIBXL_OP_PREPARE, VIR_HOOK_SUBOP_BEGIN));
    if (!locks_)
        return {};
    return conf::check(virDomainLockProcessStart(locks_.get(), leaseOwner, domain.object(), /* paused= */ true, nullptr));
}

Result<void> Services::takeDevices(Domain &domain)
{
    if (!devices_)
        return {};
    return conf::check(virHostdevPrepareDomainDevices(devices_.get(), driverName, domain.def(), deviceKinds));
}

Result<void> Services::aboutToStart(Domain &domain)
{
    return hook(domain, VIR_HOOK_LIBXL_OP_START, VIR_HOOK_SUBOP_BEGIN);
}

Result<void> Services::aboutToRun(Domain &domain)
{
    TRY(holdLeases(domain));
    return hook(domain, VIR_HOOK_LIBXL_OP_STARTED, VIR_HOOK_SUBOP_BEGIN);
}

void Services::reconnected(Domain &domain)
{
    // One that was sent has yielded them.
    domain.data().holdsLeases = domain.data().phase != MigrationPhase::Performed;
    if (devices_ && virHostdevUpdateActiveDomainDevices(devices_.get(), driverName, domain.def(), deviceKinds) < 0)
        warn(domain, conf::takeLibvirtError());
    tryHook(domain, VIR_HOOK_LIBXL_OP_RECONNECT, VIR_HOOK_SUBOP_BEGIN);
}

void Services::stopped(Domain &domain)
{
    tryHook(domain, VIR_HOOK_LIBXL_OP_STOPPED, VIR_HOOK_SUBOP_END);
    if (devices_)
        virHostdevReAttachDomainDevices(devices_.get(), driverName, domain.def(), deviceKinds);
    yieldLeases(domain);
    domain.data().leaseState.clear();
}

void Services::released(Domain &domain)
{
    tryHook(domain, VIR_HOOK_LIBXL_OP_RELEASE, VIR_HOOK_SUBOP_END);
}

// ---- leases ------------------------------------------------------------------------------

void Services::yieldLeases(Domain &domain)
{
    PrivateData &data = domain.data();
    if (!locks_ || !data.holdsLeases)
        return;
    char *state = nullptr;
    const int yielded = virDomainLockProcessPause(locks_.get(), domain.object(), &state);
    const conf::Text text(state);
    if (yielded < 0)
        return warn(domain, conf::takeLibvirtError());
    data.leaseState = text ? text.get() : "";
    data.holdsLeases = false;
}

Result<void> Services::holdLeases(Domain &domain)
{
    PrivateData &data = domain.data();
    if (!locks_ || data.holdsLeases)
        return {};
    const char *state = data.leaseState.empty() ? nullptr : data.leaseState.c_str();
    TRY(conf::check(virDomainLockProcessResume(locks_.get(), leaseOwner, domain.object(), state)));
    data.leaseState.clear();
    data.holdsLeases = true;
    return {};
}

// ---- single devices ----------------------------------------------------------------------

Result<void> Services::takeDevice(Domain &domain, virDomainDeviceDef *device)
{
    if (device->type == VIR_DOMAIN_DEVICE_DISK && locks_)
        return conf::check(
            virDomainLockImageAttach(locks_.get(), leaseOwner, domain.object(), device->data.disk->src));
    if (device->type != VIR_DOMAIN_DEVICE_HOSTDEV || !devices_)
        return {};
    const virDomainDef *def = domain.def();
    virDomainHostdevDef **one = &device->data.hostdev;
    TRY(conf::check(virHostdevPreparePCIDevices(devices_.get(), driverName, def->name, def->uuid, one, 1, 0)));
    return conf::check(virHostdevPrepareUSBDevices(devices_.get(), driverName, def->name, one, 1, 0));
}

void Services::giveDeviceBack(Domain &domain, virDomainDeviceDef *device)
{
    if (device->type == VIR_DOMAIN_DEVICE_DISK && locks_ &&
        virDomainLockImageDetach(locks_.get(), domain.object(), device->data.disk->src) < 0)
        warn(domain, conf::takeLibvirtError());
    if (device->type != VIR_DOMAIN_DEVICE_HOSTDEV || !devices_)
        return;
    virDomainHostdevDef **one = &device->data.hostdev;
    virHostdevReAttachPCIDevices(devices_.get(), driverName, domain.def()->name, one, 1);
    virHostdevReAttachUSBDevices(devices_.get(), driverName, domain.def()->name, one, 1);
}

} // namespace godwit::domain
