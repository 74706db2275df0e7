// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/hypervisor.h"

#include "base/i18n.h"
#include "conf/qemu_namespace.h"

namespace godwit::hypervisor {

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::tr;

static base::Error notHere(const char *what)
{
    return makeError(ErrorCode::Unsupported, tr("this hypervisor does not support %s"), what);
}

// ---- Guest -------------------------------------------------------------------------------

Result<CpuTimes> Guest::cpuTimes()
{
    CpuTimes times;
    TRY(conf::check(virProcessGetStatInfo(&times.total, &times.user, &times.system, nullptr, nullptr, pid(), 0)));
    return times;
}

Result<std::vector<VcpuFigures>> Guest::vcpuFigures()
{
    std::vector<VcpuFigures> all;
    for (const VcpuStatus &vcpu : TRY(vcpus())) {
        VcpuFigures figures;
        figures.id = vcpu.id;
        figures.halted = vcpu.halted;
        TRY(conf::check(virProcessGetStatInfo(&figures.cpuTime, nullptr, nullptr, &figures.hostCpu, nullptr, pid(),
                                              vcpu.thread)));
        // Not every kernel tells how long a thread waited.
        if (virProcessGetSchedInfo(&figures.waitTime, pid(), vcpu.thread) < 0)
            virResetLastError();
        all.push_back(figures);
    }
    return all;
}

Result<uint64_t> Guest::residentKib()
{
    long resident = 0;
    TRY(conf::check(virProcessGetStatInfo(nullptr, nullptr, nullptr, nullptr, &resident, pid(), 0)));
    return static_cast<uint64_t>(resident);
}

static Result<pid_t> threadOf(Guest &guest, unsigned id)
{
    for (const VcpuStatus &vcpu : TRY(guest.vcpus())) {
        if (vcpu.id == id)
            return vcpu.thread;
    }
    return makeError(ErrorCode::InvalidArgument, tr("vCPU %u is not online"), id);
}

Result<CpuSet> Guest::vcpuAffinity(unsigned id)
{
    const pid_t thread = TRY(threadOf(*this, id));
    return CpuSet(TRY(conf::check(virProcessGetAffinity(thread))));
}

Result<void> Guest::setVcpuAffinity(unsigned id, virBitmap *cpus)
{
    const pid_t thread = TRY(threadOf(*this, id));
    return conf::check(virProcessSetAffinity(thread, cpus, false));
}

Result<NodeSet> Guest::nodeAffinity()
{
    return notHere(tr("NUMA nodes of a running guest"));
}

Result<void> Guest::setMaxMemory(uint64_t)
{
    return makeError(ErrorCode::OperationInvalid, "%s",
                     tr("the maximum memory of a running domain cannot be changed"));
}

Result<void> Guest::setVcpus(unsigned)
{
    return makeError(ErrorCode::Unsupported, "%s",
                     tr("the number of vCPUs of a running domain cannot be changed, only that of its persistent "
                        "definition"));
}

static base::Error fixedDevice(const virDomainDeviceDef *device)
{
    return makeError(ErrorCode::Unsupported,
                     tr("changing a device of type '%s' of a running domain is not supported, only in its "
                        "persistent definition"),
                     virDomainDeviceTypeToString(device->type));
}

Result<void> Guest::attachDevice(const virDomainDef *, virDomainDeviceDef *device)
{
    return fixedDevice(device);
}

Result<void> Guest::detachDevice(const virDomainDef *, virDomainDeviceDef *device)
{
    return fixedDevice(device);
}

Result<void> Guest::updateDevice(const virDomainDef *, virDomainDeviceDef *device)
{
    return fixedDevice(device);
}

Result<SchedulerParameters> Guest::schedulerParameters()
{
    return notHere(tr("scheduler parameters"));
}

Result<void> Guest::setSchedulerParameters(const SchedulerParameters &)
{
    return notHere(tr("scheduler parameters"));
}

Result<void> Guest::dumpCore(const std::string &)
{
    return notHere(tr("core dumps of guests"));
}

// ---- Hypervisor --------------------------------------------------------------------------

DefinitionTraits Hypervisor::definitionTraits() const
{
    DefinitionTraits traits;
    traits.xmlNamespace = conf::qemuNamespace();
    return traits;
}

Result<virNodeInfo> Hypervisor::nodeInfo()
{
    virNodeInfo info{};
    TRY(conf::check(virCapabilitiesGetNodeInfo(&info)));
    return info;
}

Result<uint64_t> Hypervisor::freeMemory()
{
    unsigned long long bytes = 0;
    TRY(conf::check(virHostMemGetInfo(nullptr, &bytes)));
    return uint64_t{bytes};
}

Result<std::vector<uint64_t>> Hypervisor::cellsFreeMemory(int first, int count)
{
    std::vector<unsigned long long> bytes(static_cast<size_t>(std::max(count, 0)));
    const int cells = virHostMemGetCellsFree(bytes.data(), first, count);
    if (cells < 0)
        return conf::takeLibvirtError();
    return std::vector<uint64_t>(bytes.begin(), bytes.begin() + cells);
}

Result<std::string> Hypervisor::schedulerType()
{
    return notHere(tr("scheduler parameters"));
}

Result<conf::DomainDef> Hypervisor::fromNative(const char *format, const char *, virDomainXMLOption *)
{
    return makeError(ErrorCode::InvalidArgument, tr("configuration format '%s' is not known"), format);
}

Result<conf::Text> Hypervisor::toNative(const char *format, virDomainDef *, virConnectPtr)
{
    return makeError(ErrorCode::InvalidArgument, tr("configuration format '%s' is not known"), format);
}

Result<conf::DomainDef> Hypervisor::hostDomain(virDomainXMLOption *)
{
    return conf::DomainDef();
}

Result<void> Hypervisor::checkMemory(const virDomainDef *)
{
    return {};
}

Result<void> Hypervisor::checkLive(const virDomainDef *)
{
    return {};
}

} // namespace godwit::hypervisor
