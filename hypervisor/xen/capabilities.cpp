// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/xen/capabilities.h"

#include "base/i18n.h"
#include "base/log.h"
#include "conf/libvirt_error.h"

#include <array>
#include <map>
#include <sstream>
#include <regex>

namespace godwit::hypervisor::xen {

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::tr;

static constexpr const char *emulatorPath = "/usr/lib/xen/bin/qemu-system-i386";
static constexpr const char *firmwarePath = "/usr/lib/xen/boot/hvmloader";
static constexpr const char *ovmfPath = "/usr/lib/xen/boot/ovmf.bin";

/// CPUID leaves that the words of libxl's hw_cap hold, since Xen 4.7.
struct HardwareWord {
    uint32_t leaf, subleaf;
    char reg;
};
static constexpr auto hardwareWords = std::to_array<HardwareWord>({
    {0x00000001, 0, 'd'}, {0x00000001, 0, 'c'}, {0x80000001, 0, 'd'}, {0x80000001, 0, 'c'},
    {0x0000000d, 1, 'a'}, {0x00000007, 0, 'b'}, {0x00000007, 0, 'c'}, {0x80000007, 0, 'd'},
});
static constexpr uint32_t paeBit = 1u << 6;        // word 0
static constexpr uint32_t longModeBit = 1u << 29;  // word 2

using CpuData = std::unique_ptr<virCPUData, conf::FreeWith<virCPUDataFree>>;
using CpuDef = std::unique_ptr<virCPUDef, conf::FreeWith<virCPUDefFree>>;

static Result<CpuData> cpuData(virArch arch, const uint32_t *words)
{
    CpuData data(TRY(conf::check(virCPUDataNew(arch))));
    for (size_t i = 0; i < hardwareWords.size(); i++) {
        virCPUx86DataItem item{};
        item.type = VIR_CPU_X86_DATA_CPUID;
        auto &cpuid = item.data.cpuid;
        cpuid.eax_in = hardwareWords[i].leaf;
        cpuid.ecx_in = hardwareWords[i].subleaf;
        uint32_t &value = hardwareWords[i].reg == 'a'   ? cpuid.eax
                          : hardwareWords[i].reg == 'b' ? cpuid.ebx
                          : hardwareWords[i].reg == 'c' ? cpuid.ecx
                                                        : cpuid.edx;
        value = words[i];
        TRY(conf::check(virCPUx86DataAdd(data.get(), &item)));
    }
    return data;
}

static Result<void> hostCpu(virCaps *caps, const libxl_physinfo &host)
{
    if (host.hw_cap[0] == 0)
        return {};
    if (host.hw_cap[0] & paeBit)
        TRY(conf::check(virCapabilitiesAddHostFeature(caps, "pae")));
    CpuDef cpu(virCPUDefNew());
    cpu->arch = host.hw_cap[2] & longModeBit ? VIR_ARCH_X86_64 : VIR_ARCH_I686;
    cpu->type = VIR_CPU_TYPE_HOST;
    cpu->cores = host.cores_per_socket;
    cpu->threads = host.threads_per_core;
    cpu->dies = 1;
    cpu->sockets = host.nr_cpus / std::max(cpu->cores * cpu->threads, 1u);
    const CpuData data = TRY(cpuData(cpu->arch, host.hw_cap));
    // A CPU that libvirt has no name for (emulated ones, above all) runs guests all the same.
    if (cpuDecode(cpu.get(), data.get(), nullptr) < 0) {
        const base::Error error = conf::takeLibvirtError();
        log(base::LogLevel::Warning, "the host's CPU model is not known: %s", error.message.c_str());
        return {};
    }
    caps->host.cpu = cpu.release();
    return {};
}

struct Topology {
    int count = 0;
    libxl_cputopology *cpus = nullptr;
    ~Topology() { libxl_cputopology_list_free(cpus, count); }
};
struct Nodes {
    int count = 0;
    libxl_numainfo *nodes = nullptr;
    ~Nodes() { libxl_numainfo_list_free(nodes, count); }
};

static virCapsHostNUMACellCPU *cellCpus(const Topology &topology, int node, int *count)
{
    auto *cpus = g_new0(virCapsHostNUMACellCPU, topology.count);
    *count = 0;
    for (int i = 0; i < topology.count; i++) {
        const libxl_cputopology &cpu = topology.cpus[i];
        if (cpu.core == LIBXL_CPUTOPOLOGY_INVALID_ENTRY || cpu.node != static_cast<uint32_t>(node))
            continue;
        virCapsHostNUMACellCPU &made = cpus[(*count)++];
        made.id = static_cast<unsigned>(i);
        made.socket_id = static_cast<int>(cpu.socket);
        made.core_id = static_cast<int>(cpu.core);
        made.siblings = virBitmapNew(static_cast<size_t>(topology.count));
        for (int j = 0; j < topology.count; j++) {
            if (topology.cpus[j].core == cpu.core && topology.cpus[j].socket == cpu.socket)
                virBitmapSetBitExpand(made.siblings, static_cast<size_t>(j));
        }
    }
    return cpus;
}

static Result<void> hostNuma(Context &context, virCaps *caps)
{
    Nodes nodes;
    Topology topology;
    nodes.nodes = libxl_get_numainfo(context, &nodes.count);
    topology.cpus = libxl_get_cpu_topology(context, &topology.count);
    if (!nodes.nodes || !topology.cpus)
        return context.failure(ERROR_FAIL, tr("cannot ask Xen for the host's CPUs"));
    caps->host.numa = virCapabilitiesHostNUMANew();
    for (int i = 0; i < nodes.count; i++) {
        const libxl_numainfo &node = nodes.nodes[i];
        if (node.size == LIBXL_NUMAINFO_INVALID_ENTRY)
            continue;
        int cpuCount = 0;
        virCapsHostNUMACellCPU *cpus = cellCpus(topology, i, &cpuCount);
        virNumaDistance *distances = g_new0(virNumaDistance, node.num_dists);
        for (int j = 0; j < node.num_dists; j++) {
            distances[j].cellid = static_cast<unsigned>(j);
            distances[j].value = node.dists[j];
        }
        virCapabilitiesHostNUMAAddCell(caps->host.numa, i, node.size / 1024, cpuCount, &cpus, node.num_dists,
                                       &distances, 0, nullptr, nullptr);
    }
    return {};
}

const char *machineOf(int osType)
{
    return osType == VIR_DOMAIN_OSTYPE_HVM ? "xenfv" : osType == VIR_DOMAIN_OSTYPE_XENPVH ? "xenpvh" : "xenpv";
}

struct GuestKind {
    virArch arch;
    bool pae = false, nonPae = false;
};

static Result<void> addGuest(virCaps *caps, int osType, const GuestKind &kind)
{
    const char *machine = machineOf(osType);
    const bool hvm = osType == VIR_DOMAIN_OSTYPE_HVM;
    virCapsGuestMachine **machines = virCapabilitiesAllocMachines(&machine, 1);
    virCapsGuest *guest = virCapabilitiesAddGuest(caps, osType, kind.arch, emulatorPath, hvm ? firmwarePath : nullptr,
                                                  1, machines);
    virCapabilitiesAddGuestDomain(guest, VIR_DOMAIN_VIRT_XEN, nullptr, nullptr, 0, nullptr);
    if (kind.pae)
        virCapabilitiesAddGuestFeature(guest, VIR_CAPS_GUEST_FEATURE_TYPE_PAE);
    if (kind.nonPae)
        virCapabilitiesAddGuestFeature(guest, VIR_CAPS_GUEST_FEATURE_TYPE_NONPAE);
    if (hvm) {
        virCapabilitiesAddGuestFeatureWithToggle(guest, VIR_CAPS_GUEST_FEATURE_TYPE_ACPI, true, true);
        virCapabilitiesAddGuestFeatureWithToggle(guest, VIR_CAPS_GUEST_FEATURE_TYPE_APIC, true, false);
    }
    if (osType != VIR_DOMAIN_OSTYPE_XEN)
        virCapabilitiesAddGuestFeatureWithToggle(guest, VIR_CAPS_GUEST_FEATURE_TYPE_HAP, true, true);
    return {};
}

/// Xen tells what guests it runs as words like "xen-3.0-x86_64" and "hvm-3.0-x86_32p".
static Result<void> guests(Context &context, virCaps *caps)
{
    const libxl_version_info *version = libxl_get_version_info(context);
    if (!version || !version->capabilities)
        return context.failure(ERROR_FAIL, tr("cannot ask Xen what guests it runs"));
    static const std::regex format(R"((xen|hvm)-\d+\.\d+-(x86_32|x86_64|aarch64|armv7l)(p?)(be)?)");
    // In the order in which Xen names them; a second word on the same kind adds to it.
    std::vector<std::pair<bool, GuestKind>> kinds;
    std::istringstream words(version->capabilities);
    for (std::string word; words >> word;) {
        std::smatch match;
        if (!std::regex_match(word, match, format))
            continue;
        const bool hvm = match[1] == "hvm";
        const virArch arch = match[2] == "x86_32" ? VIR_ARCH_I686 : virArchFromString(match[2].str().c_str());
        auto known = std::find_if(kinds.begin(), kinds.end(),
                                  [&](const auto &kind) { return kind.first == hvm && kind.second.arch == arch; });
        if (known == kinds.end())
            known = kinds.insert(kinds.end(), {hvm, GuestKind{arch}});
        if (arch == VIR_ARCH_I686)
            (match[3] == "p" ? known->second.pae : known->second.nonPae) = true;
    }
    for (const auto &[hvm, kind] : kinds) {
        TRY(addGuest(caps, hvm ? VIR_DOMAIN_OSTYPE_HVM : VIR_DOMAIN_OSTYPE_XEN, kind));
        // PVH needs of the host what HVM needs.
        if (hvm)
            TRY(addGuest(caps, VIR_DOMAIN_OSTYPE_XENPVH, GuestKind{kind.arch}));
    }
    return {};
}

Result<conf::ObjectRef<virCaps>> makeCapabilities(Context &context)
{
    auto caps = conf::ObjectRef<virCaps>::adopt(
        TRY(conf::check(virCapabilitiesNew(virArchFromHost(), /* offlineMigrate= */ true, /* liveMigrate= */ true))));
    PhysicalInfo host;
    TRY(context.check(libxl_get_physinfo(context, host.get()), tr("cannot ask Xen for its host")));
    TRY(hostCpu(caps.get(), *host));
    TRY(conf::check(virCapabilitiesSetNetPrefix(caps.get(), "vif")));
    TRY(conf::check(virCapabilitiesAddHostMigrateTransport(caps.get(), "tcp")));
    TRY(hostNuma(context, caps.get()));
    TRY(guests(context, caps.get()));
    return caps;
}

// ---- of a domain -------------------------------------------------------------------------

static void setEnum(virDomainCapsEnum &where, std::initializer_list<unsigned> values)
{
    where.report = true;
    for (unsigned value : values)
        where.values |= 1u << value;
}

static void osCapabilities(virDomainCapsOS &os, bool hvm)
{
    os.supported = VIR_TRISTATE_BOOL_YES;
    os.loader.supported = hvm ? VIR_TRISTATE_BOOL_YES : VIR_TRISTATE_BOOL_NO;
    os.loader.type.report = os.loader.readonly.report = true;
    if (!hvm)
        return;
    const char *firmwares[] = {ovmfPath, firmwarePath};
    os.loader.values.values = g_new0(char *, std::size(firmwares));
    for (const char *firmware : firmwares)
        os.loader.values.values[os.loader.values.nvalues++] = g_strdup(firmware);
    setEnum(os.loader.type, {VIR_DOMAIN_LOADER_TYPE_ROM, VIR_DOMAIN_LOADER_TYPE_PFLASH});
    setEnum(os.loader.readonly, {VIR_TRISTATE_BOOL_YES});
}

static void deviceCapabilities(virDomainCaps *caps)
{
    caps->disk.supported = VIR_TRISTATE_BOOL_YES;
    setEnum(caps->disk.diskDevice, {VIR_DOMAIN_DISK_DEVICE_DISK, VIR_DOMAIN_DISK_DEVICE_CDROM});
    setEnum(caps->disk.bus, {VIR_DOMAIN_DISK_BUS_IDE, VIR_DOMAIN_DISK_BUS_SCSI, VIR_DOMAIN_DISK_BUS_XEN});
    caps->disk.model.report = true;
    caps->graphics.supported = VIR_TRISTATE_BOOL_YES;
    setEnum(caps->graphics.type,
            {VIR_DOMAIN_GRAPHICS_TYPE_SDL, VIR_DOMAIN_GRAPHICS_TYPE_VNC, VIR_DOMAIN_GRAPHICS_TYPE_SPICE});
    caps->video.supported = VIR_TRISTATE_BOOL_YES;
    setEnum(caps->video.modelType, {VIR_DOMAIN_VIDEO_TYPE_VGA, VIR_DOMAIN_VIDEO_TYPE_CIRRUS, VIR_DOMAIN_VIDEO_TYPE_XEN});
}

static void hostDeviceCapabilities(virDomainCapsDeviceHostdev &device)
{
    device.supported = VIR_TRISTATE_BOOL_YES;
    setEnum(device.mode, {VIR_DOMAIN_HOSTDEV_MODE_SUBSYS});
    setEnum(device.startupPolicy, {VIR_DOMAIN_STARTUP_POLICY_DEFAULT, VIR_DOMAIN_STARTUP_POLICY_MANDATORY,
                                   VIR_DOMAIN_STARTUP_POLICY_REQUISITE, VIR_DOMAIN_STARTUP_POLICY_OPTIONAL});
    setEnum(device.subsysType, {VIR_DOMAIN_HOSTDEV_SUBSYS_TYPE_PCI, VIR_DOMAIN_HOSTDEV_SUBSYS_TYPE_USB});
    device.capsType.report = true;
    setEnum(device.pciBackend, {VIR_DOMAIN_HOSTDEV_PCI_BACKEND_XEN});
}

Result<conf::ObjectRef<virDomainCaps>> makeDomainCapabilities(const char *emulator, const char *arch,
                                                              const char *machine, const char *virtType)
{
    // Xen has no way to tell; these are its sources' numbers.
    constexpr int maxVcpusHvm = 128, maxVcpusPv = 512;
    if (virtType && virDomainVirtTypeFromString(virtType) != VIR_DOMAIN_VIRT_XEN)
        return makeError(ErrorCode::InvalidArgument, tr("domain type '%s' does not run on Xen, only 'xen'"), virtType);
    const virArch wanted = arch ? virArchFromString(arch) : virArchFromHost();
    if (wanted == VIR_ARCH_NONE)
        return makeError(ErrorCode::InvalidArgument, tr("no architecture is named '%s'"), arch);
    if (!machine)
        machine = "xenpv";
    if (STRNEQ(machine, "xenpv") && STRNEQ(machine, "xenpvh") && STRNEQ(machine, "xenfv"))
        return makeError(ErrorCode::InvalidArgument, tr("Xen has no machine '%s', only 'xenpv', 'xenpvh' and 'xenfv'"),
                         machine);
    auto caps = conf::ObjectRef<virDomainCaps>::adopt(TRY(conf::check(
        virDomainCapsNew(emulator ? emulator : emulatorPath, machine, wanted, VIR_DOMAIN_VIRT_XEN))));
    const bool hvm = STREQ(machine, "xenfv");
    caps->maxvcpus = hvm ? maxVcpusHvm : maxVcpusPv;
    osCapabilities(caps->os, hvm);
    deviceCapabilities(caps.get());
    if (STRNEQ(machine, "xenpvh"))
        hostDeviceCapabilities(caps->hostdev);
    for (virDomainCapsFeature feature : {VIR_DOMAIN_CAPS_FEATURE_IOTHREADS, VIR_DOMAIN_CAPS_FEATURE_VMCOREINFO,
                                         VIR_DOMAIN_CAPS_FEATURE_GENID})
        caps->features[feature] = VIR_TRISTATE_BOOL_NO;
    caps->gic.supported = VIR_TRISTATE_BOOL_NO;
    return caps;
}

} // namespace godwit::hypervisor::xen
