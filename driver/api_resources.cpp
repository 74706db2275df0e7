// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/job.h"
#include "driver/api.h"
#include "driver/config_change.h"
#include "driver/connection.h"
#include "driver/entry.h"

#include <algorithm>

namespace godwit::driver {

// What a domain gets of its host: memory, vCPUs, the CPUs they run on.

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::tr;
using domain::Domain;
using domain::Job;

using Bitmap = std::unique_ptr<virBitmap, conf::FreeWith<virBitmapFree>>;

static Result<unsigned long long> getMaxMemory(virDomainPtr handle)
{
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainGetMaxMemoryEnsureACL>(handle, domain));
    return virDomainDefGetMemoryTotal(domain.def());
}

static Result<void> setMaximum(Domain &domain, const AffectedDefs &defs, unsigned long kib)
{
    const bool config = defs.config;
    if (defs.live) {
        auto guest = TRY(domain.guest());
        TRY(domain.unlocked([&] { return guest->setMaxMemory(kib); }));
        TRY(domain.requireActive());
        virDomainDefSetMemoryTotal(domain.def(), kib);
        domain.saveStatus();
    }
    if (!config)
        return {};
    return changeConfig(domain, [kib](virDomainDef *def) -> Result<void> {
        if (virDomainNumaGetNodeCount(def->numa) > 0)
            return makeError(ErrorCode::OperationInvalid, "%s",
                             tr("the memory of a domain with NUMA nodes is the sum of theirs"));
        virDomainDefSetMemoryTotal(def, kib);
        def->mem.cur_balloon = std::min<unsigned long long>(def->mem.cur_balloon, kib);
        return {};
    });
}

static Result<void> setCurrent(Domain &domain, const AffectedDefs &defs, unsigned long kib)
{
    for (const virDomainDef *def : {defs.live, defs.config}) {
        if (def && kib > virDomainDefGetMemoryTotal(def))
            return makeError(ErrorCode::InvalidArgument, tr("%lu KiB are more than the domain's maximum of %llu KiB"),
                             kib, virDomainDefGetMemoryTotal(def));
    }
    const bool config = defs.config;
    if (defs.live) {
        auto guest = TRY(domain.guest());
        TRY(domain.unlocked([&] { return guest->setBalloon(kib); }));
    }
    if (!config)
        return {};
    return changeConfig(domain, [kib](virDomainDef *def) -> Result<void> {
        def->mem.cur_balloon = kib;
        return {};
    });
}

static Result<void> setMemoryFlags(virDomainPtr handle, unsigned long kib, unsigned flags)
{
    TRY(checkFlags(flags, impactFlags | VIR_DOMAIN_MEM_MAXIMUM));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainSetMemoryFlagsEnsureACL>(handle, domain, flags));
    auto job = TRY(Job::begin(domain, VIR_JOB_MODIFY));
    const AffectedDefs defs = TRY(affectedDefs(domain, flags));
    return flags & VIR_DOMAIN_MEM_MAXIMUM ? setMaximum(domain, defs, kib) : setCurrent(domain, defs, kib);
}

static Result<void> setMemory(virDomainPtr handle, unsigned long kib)
{
    return setMemoryFlags(handle, kib, VIR_DOMAIN_AFFECT_LIVE);
}

static Result<void> setMaxMemory(virDomainPtr handle, unsigned long kib)
{
    return setMemoryFlags(handle, kib, VIR_DOMAIN_MEM_MAXIMUM);
}

static Result<void> requireBalloon(const virDomainDef *def)
{
    if (!virDomainDefHasMemballoon(def))
        return makeError(ErrorCode::OperationInvalid, tr("domain '%s' has no memory balloon"), def->name);
    return {};
}

static Result<void> setMemoryStatsPeriod(virDomainPtr handle, int seconds, unsigned flags)
{
    TRY(checkFlags(flags, impactFlags));
    if (seconds < 0)
        return makeError(ErrorCode::InvalidArgument, "%s", tr("a period cannot be negative"));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainSetMemoryStatsPeriodEnsureACL>(handle, domain, flags));
    auto job = TRY(Job::begin(domain, VIR_JOB_MODIFY));
    const AffectedDefs defs = TRY(affectedDefs(domain, flags));
    if (defs.live) {
        TRY(requireBalloon(defs.live));
        auto guest = TRY(domain.guest());
        TRY(domain.unlocked([&] { return guest->setBalloonPeriod(static_cast<unsigned>(seconds)); }));
        TRY(domain.requireActive());
        domain.def()->memballoon->period = seconds;
        domain.saveStatus();
    }
    if (!defs.config)
        return {};
    return changeConfig(domain, [seconds](virDomainDef *def) -> Result<void> {
        TRY(requireBalloon(def));
        def->memballoon->period = seconds;
        return {};
    });
}

/// Which vCPUs are there at boot follows from how many; libvirt wants the others to be
/// called pluggable.
static Result<void> enableVcpus(virDomainDef *def, unsigned count)
{
    TRY(conf::check(virDomainDefSetVcpus(def, count)));
    for (size_t i = 0; i < def->maxvcpus; i++)
        def->vcpus[i]->hotpluggable = def->vcpus[i]->online ? VIR_TRISTATE_BOOL_NO : VIR_TRISTATE_BOOL_YES;
    return {};
}

static Result<void> setVcpusFlags(virDomainPtr handle, unsigned count, unsigned flags)
{
    TRY(checkFlags(flags, impactFlags | VIR_DOMAIN_VCPU_MAXIMUM));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainSetVcpusFlagsEnsureACL>(handle, domain, flags));
    auto job = TRY(Job::begin(domain, VIR_JOB_MODIFY));
    const AffectedDefs defs = TRY(affectedDefs(domain, flags));
    const bool config = defs.config;
    if (defs.live) {
        if (flags & VIR_DOMAIN_VCPU_MAXIMUM)
            return makeError(ErrorCode::OperationInvalid, "%s",
                             tr("the maximum number of vCPUs of a running domain cannot be changed"));
        if (count == 0 || count > virDomainDefGetVcpusMax(defs.live))
            return makeError(ErrorCode::InvalidArgument, tr("domain '%s' can have 1 to %u vCPUs, not %u"),
                             defs.live->name, virDomainDefGetVcpusMax(defs.live), count);
        auto guest = TRY(domain.guest());
        TRY(domain.unlocked([&] { return guest->setVcpus(count); }));
        TRY(domain.requireActive());
        TRY(enableVcpus(domain.def(), count));
        domain.saveStatus();
    }
    if (!config)
        return {};
    return changeConfig(domain, [&](virDomainDef *def) -> Result<void> {
        // An order of plugging says nothing any more about another number of vCPUs.
        virDomainDefVcpuOrderClear(def);
        if (!(flags & VIR_DOMAIN_VCPU_MAXIMUM))
            return enableVcpus(def, count);
        return conf::check(virDomainDefSetVcpusMax(def, count, domain.host().xmlOption()));
    });
}

static Result<void> setVcpus(virDomainPtr handle, unsigned count)
{
    return setVcpusFlags(handle, count, VIR_DOMAIN_AFFECT_LIVE);
}

static Result<int> getVcpusFlags(virDomainPtr handle, unsigned flags)
{
    TRY(checkFlags(flags, impactFlags | VIR_DOMAIN_VCPU_MAXIMUM));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainGetVcpusFlagsEnsureACL>(handle, domain, flags));
    const virDomainDef *def = TRY(affectedDef(domain, flags));
    return static_cast<int>(flags & VIR_DOMAIN_VCPU_MAXIMUM ? virDomainDefGetVcpusMax(def)
                                                            : virDomainDefGetVcpus(def));
}

static Result<int> getMaxVcpus(virDomainPtr handle)
{
    return getVcpusFlags(handle, unsigned{VIR_DOMAIN_AFFECT_LIVE} | VIR_DOMAIN_VCPU_MAXIMUM);
}

// Pinning. A live pin belongs to the threads of this host: it is read from them, and
// neither stored in the definition nor taken along when the guest travels.

static Result<std::vector<hypervisor::VcpuStatus>> vcpuThreads(Domain &domain)
{
    auto guest = TRY(domain.guest());
    auto vcpus = TRY(domain.unlocked([&] { return guest->vcpus(); }));
    TRY(domain.requireActive());
    return vcpus;
}

static Result<bool> asksAboutLive(const Domain &domain, unsigned flags)
{
    bool live = false;
    TRY(conf::check(virDomainObjGetOneDefState(domain.object(), flags, &live)));
    return live;
}


static Result<int> liveVcpuPins(Domain &domain, int mapCount, unsigned char *maps, int mapLength)
{
    auto job = TRY(Job::begin(domain, VIR_JOB_QUERY));
    const auto vcpus = TRY(vcpuThreads(domain));
    const int count = std::min(mapCount, static_cast<int>(virDomainDefGetVcpusMax(domain.def())));
    const auto guest = TRY(domain.guest());
    for (const hypervisor::VcpuStatus &vcpu : vcpus) {
        if (static_cast<int>(vcpu.id) >= count)
            continue;
        const auto cpus = TRY(domain.unlocked([&] { return guest->vcpuAffinity(vcpu.id); }));
        virBitmapToDataBuf(cpus.get(), VIR_GET_CPUMAP(maps, mapLength, vcpu.id), static_cast<size_t>(mapLength));
    }
    return count;
}

static Result<int> getVcpuPinInfo(virDomainPtr handle, int mapCount, unsigned char *maps, int mapLength,
                                  unsigned flags)
{
    TRY(checkFlags(flags, impactFlags));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainGetVcpuPinInfoEnsureACL>(handle, domain));
    if (TRY(asksAboutLive(domain, flags)))
        return liveVcpuPins(domain, mapCount, maps, mapLength);
    virDomainDef *def = TRY(affectedDef(domain, flags));
    Bitmap hostCpus(TRY(conf::check(virHostCPUGetAvailableCPUsBitmap())));
    return number(virDomainDefGetVcpuPinInfoHelper(def, mapLength, mapCount, maps, hostCpus.get(), nullptr));
}

/// The process that runs the guest, where one does.
static Result<pid_t> emulatorOf(const Domain &domain)
{
    TRY(domain.requireActive());
    if (domain.object()->pid <= 0)
        return makeError(ErrorCode::Unsupported, tr("no process of this host runs domain '%s', which could be pinned"),
                         domain.def()->name);
    return domain.object()->pid;
}

static Result<int> getEmulatorPinInfo(virDomainPtr handle, unsigned char *map, int mapLength, unsigned flags)
{
    TRY(checkFlags(flags, impactFlags));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainGetEmulatorPinInfoEnsureACL>(handle, domain));
    if (TRY(asksAboutLive(domain, flags))) {
        const pid_t process = TRY(emulatorOf(domain));
        Bitmap cpus(TRY(conf::check(virProcessGetAffinity(process))));
        virBitmapToDataBuf(cpus.get(), map, static_cast<size_t>(mapLength));
        return 1;
    }
    const virDomainDef *def = TRY(affectedDef(domain, flags));
    Bitmap hostCpus(TRY(conf::check(virHostCPUGetAvailableCPUsBitmap())));
    virBitmap *cpus = def->cputune.emulatorpin ? def->cputune.emulatorpin
                      : def->cpumask           ? def->cpumask
                                               : hostCpus.get();
    virBitmapToDataBuf(cpus, map, static_cast<size_t>(mapLength));
    return 1;
}

static Result<Bitmap> cpuSet(const unsigned char *map, int mapLength)
{
    Bitmap cpus(virBitmapNewData(map, mapLength));
    if (!cpus || virBitmapIsAllClear(cpus.get()))
        return makeError(ErrorCode::InvalidArgument, "%s", tr("pinning to no CPU at all"));
    return cpus;
}

/// A copy of `cpus` in the place of `*mask`.
static void replaceMask(virBitmap **mask, virBitmap *cpus)
{
    virBitmapFree(*mask);
    *mask = virBitmapNewCopy(cpus);
}

static Result<virDomainVcpuDef *> vcpuOf(const virDomainDef *def, unsigned id)
{
    virDomainVcpuDef *vcpu = virDomainDefGetVcpu(const_cast<virDomainDef *>(def), id);
    if (!vcpu)
        return makeError(ErrorCode::InvalidArgument, tr("there is no vCPU %u in domain '%s', which has %zu"), id,
                         def->name, def->maxvcpus);
    return vcpu;
}

static Result<void> pinLiveVcpu(Domain &domain, unsigned id, virBitmap *cpus)
{
    TRY(vcpuOf(domain.def(), id));
    for (const auto &vcpu : TRY(vcpuThreads(domain))) {
        if (vcpu.id != id)
            continue;
        const auto guest = TRY(domain.guest());
        TRY(domain.unlocked([&] { return guest->setVcpuAffinity(id, cpus); }));
        TRY(domain.requireActive());
    }
    return {};
}

static Result<void> pinVcpuFlags(virDomainPtr handle, unsigned id, unsigned char *map, int mapLength, unsigned flags)
{
    TRY(checkFlags(flags, impactFlags));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainPinVcpuFlagsEnsureACL>(handle, domain, flags));
    Bitmap cpus = TRY(cpuSet(map, mapLength));
    auto job = TRY(Job::begin(domain, VIR_JOB_MODIFY));
    const AffectedDefs defs = TRY(affectedDefs(domain, flags));
    if (defs.live)
        TRY(pinLiveVcpu(domain, id, cpus.get()));
    if (!defs.config)
        return {};
    return changeConfig(domain, [&](virDomainDef *def) -> Result<void> {
        replaceMask(&TRY(vcpuOf(def, id))->cpumask, cpus.get());
        return {};
    });
}

static Result<void> pinVcpu(virDomainPtr handle, unsigned id, unsigned char *map, int mapLength)
{
    return pinVcpuFlags(handle, id, map, mapLength, VIR_DOMAIN_AFFECT_LIVE);
}

/// Every thread of the guest's process but those of its vCPUs.
static Result<void> pinLiveEmulator(Domain &domain, virBitmap *cpus)
{
    const auto vcpus = TRY(vcpuThreads(domain));
    const pid_t process = TRY(emulatorOf(domain));
    size_t count = 0;
    pid_t *found = nullptr;
    TRY(conf::check(virProcessGetPids(process, &count, &found)));
    std::unique_ptr<pid_t, conf::FreeWith<g_free>> threads(found);
    for (size_t i = 0; i < count; i++) {
        auto isThis = [&](const hypervisor::VcpuStatus &vcpu) { return vcpu.thread == found[i]; };
        // A thread that ended since needs no CPU.
        if (std::none_of(vcpus.begin(), vcpus.end(), isThis) && virProcessSetAffinity(found[i], cpus, true) < 0 &&
            ::kill(found[i], 0) == 0)
            return conf::takeLibvirtError();
    }
    return {};
}

static Result<void> pinEmulator(virDomainPtr handle, unsigned char *map, int mapLength, unsigned flags)
{
    TRY(checkFlags(flags, impactFlags));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainPinEmulatorEnsureACL>(handle, domain, flags));
    Bitmap cpus = TRY(cpuSet(map, mapLength));
    auto job = TRY(Job::begin(domain, VIR_JOB_MODIFY));
    const AffectedDefs defs = TRY(affectedDefs(domain, flags));
    if (defs.live)
        TRY(pinLiveEmulator(domain, cpus.get()));
    if (!defs.config)
        return {};
    return changeConfig(domain, [&](virDomainDef *def) -> Result<void> {
        replaceMask(&def->cputune.emulatorpin, cpus.get());
        return {};
    });
}

void fillResourcesApi(virHypervisorDriver &table)
{
    table.domainGetMaxMemory = entry<getMaxMemory>;
    table.domainSetMaxMemory = entry<setMaxMemory>;
    table.domainSetMemory = entry<setMemory>;
    table.domainSetMemoryFlags = entry<setMemoryFlags>;
    table.domainSetMemoryStatsPeriod = entry<setMemoryStatsPeriod>;
    table.domainSetVcpus = entry<setVcpus>;
    table.domainSetVcpusFlags = entry<setVcpusFlags>;
    table.domainGetVcpusFlags = entry<getVcpusFlags>;
    table.domainGetMaxVcpus = entry<getMaxVcpus>;
    table.domainPinVcpu = entry<pinVcpu>;
    table.domainPinVcpuFlags = entry<pinVcpuFlags>;
    table.domainGetVcpuPinInfo = entry<getVcpuPinInfo>;
    table.domainPinEmulator = entry<pinEmulator>;
    table.domainGetEmulatorPinInfo = entry<getEmulatorPinInfo>;
}

} // namespace godwit::driver
