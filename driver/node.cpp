// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/api.h"
#include "driver/connection.h"
#include "driver/entry.h"

#include <algorithm>
#include <memory>

namespace godwit::driver {

// What a connection tells of the host it leads to.

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::tr;

using Capabilities = conf::ObjectRef<virCaps>;
using CpuDef = std::unique_ptr<virCPUDef, conf::FreeWith<virCPUDefFree>>;
using Sysinfo = std::unique_ptr<virSysinfoDef, conf::FreeWith<virSysinfoDefFree>>;

static Result<const char *> getType(virConnectPtr connection)
{
    TRY(access<virConnectGetTypeEnsureACL>(connection));
    return hostOf(connection).hypervisor().typeName();
}

static Result<void> getVersion(virConnectPtr connection, unsigned long *version)
{
    TRY(access<virConnectGetVersionEnsureACL>(connection));
    *version = TRY(hostOf(connection).hypervisor().version());
    return {};
}

static Result<conf::Text> getHostname(virConnectPtr connection)
{
    TRY(access<virConnectGetHostnameEnsureACL>(connection));
    return text(virGetHostname());
}

static Result<conf::Text> getSysinfo(virConnectPtr connection, unsigned flags)
{
    TRY(checkFlags(flags, 0));
    TRY(access<virConnectGetSysinfoEnsureACL>(connection));
    Sysinfo sysinfo(virSysinfoRead());
    if (!sysinfo)
        return makeError(ErrorCode::Unsupported, tr("the host's SMBIOS information is not available: %s"),
                         conf::takeLibvirtError().message.c_str());
    conf::Buffer buffer;
    TRY(conf::check(virSysinfoFormat(buffer.get(), sysinfo.get())));
    return text(buffer.take());
}

static Result<Capabilities> capabilitiesOf(virConnectPtr connection)
{
    return Capabilities::adopt(TRY(hostOf(connection).hypervisor().capabilities()));
}

static Result<conf::Text> getCapabilities(virConnectPtr connection)
{
    TRY(access<virConnectGetCapabilitiesEnsureACL>(connection));
    return text(virCapabilitiesFormatXML(TRY(capabilitiesOf(connection)).get()));
}

static Result<conf::Text> getDomainCapabilities(virConnectPtr connection, const char *emulator, const char *arch,
                                                const char *machine, const char *virtType, unsigned flags)
{
    TRY(checkFlags(flags, 0));
    TRY(access<virConnectGetDomainCapabilitiesEnsureACL>(connection));
    auto capabilities = conf::ObjectRef<virDomainCaps>::adopt(
        TRY(hostOf(connection).hypervisor().domainCapabilities(emulator, arch, machine, virtType)));
    return text(virDomainCapsFormat(capabilities.get()));
}

static Result<int> getMaxVcpusOfType(virConnectPtr connection, const char *type)
{
    TRY(access<virConnectGetMaxVcpusEnsureACL>(connection));
    conf::Text lower(type ? g_ascii_strdown(type, -1) : nullptr);
    auto capabilities = conf::ObjectRef<virDomainCaps>::adopt(
        TRY(hostOf(connection).hypervisor().domainCapabilities(nullptr, nullptr, nullptr, lower.get())));
    return capabilities->maxvcpus;
}

static Result<int> compareCpu(virConnectPtr connection, const char *xml, unsigned flags)
{
    TRY(checkFlags(flags, VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE | VIR_CONNECT_COMPARE_CPU_VALIDATE_XML));
    TRY(access<virConnectCompareCPUEnsureACL>(connection));
    Capabilities capabilities = TRY(capabilitiesOf(connection));
    if (!capabilities->host.cpu)
        return makeError(ErrorCode::Unsupported, "%s", tr("the host's CPU is not known"));
    return number(virCPUCompareXML(capabilities->host.arch, capabilities->host.cpu, xml,
                                   flags & VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE,
                                   flags & VIR_CONNECT_COMPARE_CPU_VALIDATE_XML));
}

static Result<conf::Text> baselineCpu(virConnectPtr connection, const char **xmlCpus, unsigned count, unsigned flags)
{
    TRY(checkFlags(flags, VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES | VIR_CONNECT_BASELINE_CPU_MIGRATABLE));
    TRY(access<virConnectBaselineCPUEnsureACL>(connection));
    std::unique_ptr<virCPUDef *, conf::FreeWith<virCPUDefListFree>> cpus(
        virCPUDefListParse(xmlCpus, count, VIR_CPU_TYPE_HOST));
    if (!cpus)
        return conf::takeLibvirtError();
    const virArch arch = cpus.get()[0]->arch;
    CpuDef common(virCPUBaseline(VIR_ARCH_NONE, cpus.get(), count, nullptr, nullptr,
                                 flags & VIR_CONNECT_BASELINE_CPU_MIGRATABLE));
    if (!common)
        return conf::takeLibvirtError();
    CpuDef cpu(virCPUDefCopyWithoutModel(common.get()));
    if (!cpu)
        return conf::takeLibvirtError();
    TRY(conf::check(virCPUDefCopyModel(cpu.get(), common.get(), false)));
    if (flags & VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES)
        TRY(conf::check(virCPUExpandFeatures(arch, cpu.get())));
    return text(virCPUDefFormat(cpu.get(), nullptr));
}

static Result<int> getCpuModelNames(virConnectPtr connection, const char *archName, char ***models, unsigned flags)
{
    TRY(checkFlags(flags, 0));
    TRY(access<virConnectGetCPUModelNamesEnsureACL>(connection));
    const virArch arch = virArchFromString(archName);
    if (arch == VIR_ARCH_NONE)
        return makeError(ErrorCode::InvalidArgument, tr("no architecture is named '%s'"), archName);
    return number(virCPUGetModels(arch, models));
}

static Result<void> nodeGetInfo(virConnectPtr connection, virNodeInfoPtr info)
{
    TRY(access<virNodeGetInfoEnsureACL>(connection));
    *info = TRY(hostOf(connection).hypervisor().nodeInfo());
    return {};
}

static Result<int> nodeGetCpuStats(virConnectPtr connection, int cpu, virNodeCPUStatsPtr params, int *nparams,
                                   unsigned flags)
{
    TRY(access<virNodeGetCPUStatsEnsureACL>(connection));
    return number(virHostCPUGetStats(cpu, params, nparams, flags));
}

static Result<int> nodeGetCpuMap(virConnectPtr connection, unsigned char **cpumap, unsigned *online, unsigned flags)
{
    TRY(access<virNodeGetCPUMapEnsureACL>(connection));
    return number(virHostCPUGetMap(cpumap, online, flags));
}

static Result<int> nodeGetMemoryStats(virConnectPtr connection, int cell, virNodeMemoryStatsPtr params, int *nparams,
                                      unsigned flags)
{
    TRY(access<virNodeGetMemoryStatsEnsureACL>(connection));
    return number(virHostMemGetStats(cell, params, nparams, flags));
}

static Result<int> nodeGetCellsFreeMemory(virConnectPtr connection, unsigned long long *freeBytes, int first, int count)
{
    TRY(access<virNodeGetCellsFreeMemoryEnsureACL>(connection));
    const auto cells = TRY(hostOf(connection).hypervisor().cellsFreeMemory(first, count));
    std::copy(cells.begin(), cells.end(), freeBytes);
    return static_cast<int>(cells.size());
}

static Result<unsigned long long> nodeGetFreeMemory(virConnectPtr connection)
{
    TRY(access<virNodeGetFreeMemoryEnsureACL>(connection));
    return TRY(hostOf(connection).hypervisor().freeMemory());
}

static Result<int> nodeGetFreePages(virConnectPtr connection, unsigned count, unsigned *sizes, int firstCell,
                                    unsigned cellCount, unsigned long long *counts, unsigned flags)
{
    TRY(checkFlags(flags, 0));
    TRY(access<virNodeGetFreePagesEnsureACL>(connection));
    Capabilities capabilities = TRY(capabilitiesOf(connection));
    const int lastCell = virCapabilitiesHostNUMAGetMaxNode(capabilities->host.numa);
    return number(virHostMemGetFreePages(count, sizes, firstCell, cellCount, lastCell, counts));
}

/// No security driver confines our guests: an empty model, as libvirt's "none" has it.
static Result<void> nodeGetSecurityModel(virConnectPtr connection, virSecurityModelPtr model)
{
    TRY(access<virNodeGetSecurityModelEnsureACL>(connection));
    *model = {};
    return {};
}

void fillNodeApi(virHypervisorDriver &table)
{
    table.connectGetType = entry<getType>;
    table.connectGetVersion = entry<getVersion>;
    table.connectGetHostname = entry<getHostname>;
    table.connectGetSysinfo = entry<getSysinfo>;
    table.connectGetMaxVcpus = entry<getMaxVcpusOfType>;
    table.connectGetCapabilities = entry<getCapabilities>;
    table.connectGetDomainCapabilities = entry<getDomainCapabilities>;
    table.connectCompareCPU = entry<compareCpu>;
    table.connectBaselineCPU = entry<baselineCpu>;
    table.connectGetCPUModelNames = entry<getCpuModelNames>;
    table.nodeGetInfo = entry<nodeGetInfo>;
    table.nodeGetCPUStats = entry<nodeGetCpuStats>;
    table.nodeGetCPUMap = entry<nodeGetCpuMap>;
    table.nodeGetMemoryStats = entry<nodeGetMemoryStats>;
    table.nodeGetCellsFreeMemory = entry<nodeGetCellsFreeMemory>;
    table.nodeGetFreeMemory = entry<nodeGetFreeMemory>;
    table.nodeGetFreePages = entry<nodeGetFreePages>;
    table.nodeGetSecurityModel = entry<nodeGetSecurityModel>;
}

} // namespace godwit::driver
