// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/machine/capabilities.h"

#include "base/i18n.h"
#include "base/log.h"
#include "conf/libvirt_error.h"

#include <algorithm>
#include <memory>
#include <vector>

namespace godwit::hypervisor {

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::tr;

static constexpr int maxVcpus = 255;   // without an IOMMU with interrupt remapping

static void addGuest(virCaps *caps, const EmulatorFacts &emulator)
{
    std::vector<const char *> names;
    for (const std::string &machine : emulator.machines)
        names.push_back(machine.c_str());
    const int count = static_cast<int>(names.size());
    virCapsGuest *guest =
        virCapabilitiesAddGuest(caps, VIR_DOMAIN_OSTYPE_HVM, VIR_ARCH_X86_64, emulator.binary.c_str(), nullptr, count,
                                virCapabilitiesAllocMachines(names.data(), count));
    virCapabilitiesAddGuestFeatureWithToggle(guest, VIR_CAPS_GUEST_FEATURE_TYPE_ACPI, true, true);
    virCapabilitiesAddGuestFeatureWithToggle(guest, VIR_CAPS_GUEST_FEATURE_TYPE_APIC, true, false);
    virCapabilitiesAddGuestDomain(guest, VIR_DOMAIN_VIRT_QEMU, nullptr, nullptr, 0, nullptr);
    if (emulator.kvm)
        virCapabilitiesAddGuestDomain(guest, VIR_DOMAIN_VIRT_KVM, nullptr, nullptr, 0, nullptr);
}

Result<conf::ObjectRef<virCaps>> makeCapabilities(const EmulatorFacts &emulator)
{
    auto caps = conf::ObjectRef<virCaps>::adopt(
        virCapabilitiesNew(virArchFromHost(), /* offlineMigrate= */ true, /* liveMigrate= */ true));
    if (!caps)
        return conf::takeLibvirtError();
    virCapabilitiesAddHostMigrateTransport(caps.get(), "tcp");
    if (virGetHostUUID(caps->host.host_uuid) < 0)
        return conf::takeLibvirtError();
    // Details that a client can do without: a container may hide them.
    if (!(caps->host.numa = virCapabilitiesHostNUMANewHost()) || virCapabilitiesInitCaches(caps.get()) < 0 ||
        !(caps->host.cpu = virCPUProbeHost(caps->host.arch)))
        log(base::LogLevel::Info, "host capabilities are incomplete: %s", conf::takeLibvirtError().message.c_str());
    addGuest(caps.get(), emulator);
    return caps;
}

/// Say that `values` of an enumeration are supported.
static void offer(virDomainCapsEnum &member, std::initializer_list<unsigned> values)
{
    member.report = true;
    for (unsigned value : values)
        member.values |= 1U << value;
}

/// The modes, and the models that libvirt and the emulator know by the same name.
static Result<void> fillCpu(virDomainCaps *caps, const EmulatorFacts &emulator)
{
    const bool kvm = caps->virttype == VIR_DOMAIN_VIRT_KVM;
    const auto eitherWay = {static_cast<unsigned>(VIR_TRISTATE_SWITCH_ON), static_cast<unsigned>(VIR_TRISTATE_SWITCH_OFF)};
    caps->cpu.maximum = true;
    offer(caps->cpu.maximumMigratable, eitherWay);
    caps->cpu.hostPassthrough = kvm;
    if (kvm)
        offer(caps->cpu.hostPassthroughMigratable, eitherWay);
    char **names = nullptr;
    const int known = virCPUGetModels(caps->arch, &names);
    const std::unique_ptr<char *, conf::FreeWith<g_strfreev>> owned(names);
    if (known < 0)
        return conf::takeLibvirtError();
    caps->cpu.custom = virDomainCapsCPUModelsNew(static_cast<size_t>(known));
    for (const CpuModel &model : emulator.cpuModels) {
        if (!g_strv_contains(names, model.name.c_str()))
            continue;
        const auto usable = kvm              ? VIR_DOMCAPS_CPU_USABLE_UNKNOWN
                            : model.emulated ? VIR_DOMCAPS_CPU_USABLE_YES
                                             : VIR_DOMCAPS_CPU_USABLE_NO;
        virDomainCapsCPUModelsAdd(caps->cpu.custom, model.name.c_str(), usable, nullptr, false,
                                  virCPUGetVendorForModel(caps->arch, model.name.c_str()));
    }
    return {};
}

static void fillDevices(virDomainCaps *caps)
{
    caps->disk.supported = VIR_TRISTATE_BOOL_YES;
    offer(caps->disk.diskDevice, {VIR_DOMAIN_DISK_DEVICE_DISK, VIR_DOMAIN_DISK_DEVICE_CDROM});
    offer(caps->disk.bus, {VIR_DOMAIN_DISK_BUS_IDE, VIR_DOMAIN_DISK_BUS_SATA, VIR_DOMAIN_DISK_BUS_VIRTIO});
    caps->graphics.supported = VIR_TRISTATE_BOOL_YES;
    offer(caps->graphics.type, {VIR_DOMAIN_GRAPHICS_TYPE_VNC});
    caps->video.supported = VIR_TRISTATE_BOOL_YES;
    offer(caps->video.modelType, {VIR_DOMAIN_VIDEO_TYPE_VGA, VIR_DOMAIN_VIDEO_TYPE_CIRRUS,
                                  VIR_DOMAIN_VIDEO_TYPE_VIRTIO, VIR_DOMAIN_VIDEO_TYPE_BOCHS,
                                  VIR_DOMAIN_VIDEO_TYPE_NONE});
    caps->rng.supported = VIR_TRISTATE_BOOL_YES;
    offer(caps->rng.model, {VIR_DOMAIN_RNG_MODEL_VIRTIO});
    offer(caps->rng.backendModel, {VIR_DOMAIN_RNG_BACKEND_RANDOM, VIR_DOMAIN_RNG_BACKEND_BUILTIN});
    caps->channel.supported = VIR_TRISTATE_BOOL_YES;
    offer(caps->channel.type, {VIR_DOMAIN_CHR_TYPE_UNIX});
    caps->hostdev.supported = VIR_TRISTATE_BOOL_NO;
    caps->filesystem.supported = VIR_TRISTATE_BOOL_NO;
    caps->tpm.supported = VIR_TRISTATE_BOOL_NO;
    caps->redirdev.supported = VIR_TRISTATE_BOOL_NO;
}

Result<conf::ObjectRef<virDomainCaps>> makeDomainCapabilities(const EmulatorFacts &emulator, const char *binary,
                                                              const char *arch, const char *machine,
                                                              const char *virtType)
{
    if (binary && emulator.binary != binary)
        return makeError(ErrorCode::InvalidArgument, tr("unknown emulator binary %s"), binary);
    if (arch && virArchFromString(arch) != VIR_ARCH_X86_64)
        return makeError(ErrorCode::InvalidArgument, tr("architecture '%s' is not supported"), arch);
    const char *chosen = machine ? machine : "pc";
    if (std::find(emulator.machines.begin(), emulator.machines.end(), chosen) == emulator.machines.end())
        return makeError(ErrorCode::InvalidArgument, tr("the machine '%s' is not supported"), chosen);
    int type = emulator.kvm ? VIR_DOMAIN_VIRT_KVM : VIR_DOMAIN_VIRT_QEMU;
    if (virtType)
        type = virDomainVirtTypeFromString(virtType);
    if (type != VIR_DOMAIN_VIRT_QEMU && !(type == VIR_DOMAIN_VIRT_KVM && emulator.kvm))
        return makeError(ErrorCode::InvalidArgument, tr("virtualization type '%s' is not available on this host"),
                         virtType ? virtType : "");

    auto caps = conf::ObjectRef<virDomainCaps>::adopt(virDomainCapsNew(
        emulator.binary.c_str(), chosen, VIR_ARCH_X86_64, static_cast<virDomainVirtType>(type)));
    if (!caps)
        return conf::takeLibvirtError();
    caps->maxvcpus = maxVcpus;
    caps->os.supported = VIR_TRISTATE_BOOL_YES;
    caps->os.loader.supported = VIR_TRISTATE_BOOL_NO;
    caps->memoryBacking.supported = VIR_TRISTATE_BOOL_YES;
    offer(caps->memoryBacking.sourceType, {VIR_DOMAIN_MEMORY_SOURCE_MEMFD});
    TRY(fillCpu(caps.get(), emulator));
    fillDevices(caps.get());
    for (virTristateBool &feature : caps->features)
        feature = VIR_TRISTATE_BOOL_NO;
    caps->gic.supported = VIR_TRISTATE_BOOL_NO;
    return caps;
}

} // namespace godwit::hypervisor
