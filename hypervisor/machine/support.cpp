// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/machine/definition.h"

#include "base/i18n.h"
#include "base/strprintf.h"
#include "hypervisor/machine/machine_type.h"

#include <algorithm>
#include <array>

namespace godwit::hypervisor::machine {

using base::Error;
using base::ErrorCode;
using base::makeError;
using base::Result;
using base::strprintf;
using base::tr;

namespace {

Result<void> checkMachine(const virDomainDef *def)
{
    if (def->virtType != VIR_DOMAIN_VIRT_QEMU && def->virtType != VIR_DOMAIN_VIRT_KVM)
        return unsupported(strprintf("domain type '%s'", virDomainVirtTypeToString(def->virtType)));
    if (def->os.type != VIR_DOMAIN_OSTYPE_HVM)
        return unsupported(strprintf("OS type '%s'", virDomainOSTypeToString(static_cast<virDomainOSType>(def->os.type))));
    if (def->os.arch != VIR_ARCH_X86_64 && def->os.arch != VIR_ARCH_I686)
        return unsupported(strprintf("architecture '%s'", virArchToString(def->os.arch)));
    const char *machine = def->os.machine ? def->os.machine : "";
    if (!isPcMachine(machine) && !isQ35Machine(machine))
        return unsupported(strprintf("machine type '%s'", machine));
    if (def->namespaceData)
        return unsupported("passthrough of QEMU arguments (the qemu namespace)");
    return {};
}

Result<void> checkBoot(const virDomainDef *def)
{
    const virDomainOSDef &os = def->os;
    TRY(refuse(nullptr, {
        {os.firmware != VIR_DOMAIN_OS_DEF_FIRMWARE_NONE, "firmware auto-selection"},
        {os.loader != nullptr, "a firmware loader (UEFI)"},
        {os.dtb != nullptr, "a device tree"},
        {os.slic_table != nullptr, "a SLIC table"},
        {os.root != nullptr, "a root device"},
        {os.bootloader != nullptr, "a host boot loader"},
        {os.smbios_mode == VIR_DOMAIN_SMBIOS_HOST, "SMBIOS mode 'host'"},
        {os.smbios_mode == VIR_DOMAIN_SMBIOS_SYSINFO, "SMBIOS mode 'sysinfo'"},
        {os.bios.useserial == VIR_TRISTATE_BOOL_YES, "the BIOS on the serial port"},
        {def->nsysinfo > 0, "sysinfo"},
        {def->genidRequested, "a generation ID"},
        {!os.kernel && os.initrd, "an initrd without a kernel"},
        {!os.kernel && os.cmdline, "a kernel command line without a kernel"},
    }));
    for (size_t i = 0; i < os.nBootDevs; i++) {
        if (os.bootDevs[i] == VIR_DOMAIN_BOOT_FLOPPY)
            return unsupported("boot device 'fd'");
    }
    return {};
}

Result<void> checkMemory(const virDomainDef *def)
{
    const virDomainMemtune &mem = def->mem;
    return refuse(nullptr, {
        {virDomainNumaGetNodeCount(def->numa) > 0, "guest NUMA topology"},
        {virDomainNumatuneHasPerNodeBinding(def->numa) || virDomainNumatuneGetMode(def->numa, -1, nullptr) == 0,
         "numatune"},
        {virDomainDefHasMemoryHotplug(def), "memory hotplug (maxMemory)"},
        {mem.nhugepages > 0, "hugepages"},
        {mem.nosharepages, "memory backing 'nosharepages'"},
        {mem.locked, "memory backing 'locked'"},
        {mem.discard == VIR_TRISTATE_BOOL_YES, "memory backing 'discard'"},
        {mem.source == VIR_DOMAIN_MEMORY_SOURCE_FILE, "memory backing source 'file'"},
        {mem.source == VIR_DOMAIN_MEMORY_SOURCE_ANONYMOUS, "memory backing source 'anonymous'"},
        {mem.access == VIR_DOMAIN_MEMORY_ACCESS_PRIVATE, "memory backing access 'private'"},
        {mem.allocation == VIR_DOMAIN_MEMORY_ALLOCATION_IMMEDIATE, "memory allocation 'immediate'"},
        {mem.dump_core == VIR_TRISTATE_SWITCH_ON, "dumpCore='on'"},
        {virMemoryLimitIsSet(mem.hard_limit) || virMemoryLimitIsSet(mem.soft_limit) ||
             virMemoryLimitIsSet(mem.swap_hard_limit) || mem.min_guarantee > 0,
         "memtune"},
    });
}

Result<void> checkTuning(const virDomainDef *def)
{
    const virDomainCputune &cpu = def->cputune;
    TRY(refuse(nullptr, {
        {def->cpumask || def->placement_mode == VIR_DOMAIN_CPU_PLACEMENT_MODE_AUTO, "vCPU pinning"},
        {cpu.sharesSpecified || cpu.period || cpu.quota || cpu.global_period || cpu.global_quota ||
             cpu.emulator_period || cpu.emulator_quota || cpu.iothread_period || cpu.iothread_quota,
         "CPU bandwidth tuning (cputune)"},
        {cpu.emulatorpin || cpu.emulatorsched, "pinning of the emulator (cputune)"},
        {def->nresctrls > 0, "cache or memory bandwidth allocation (cputune)"},
        {def->individualvcpus, "a setting for each vCPU (vcpus)"},
        {def->niothreadids > 0 || def->defaultIOThread, "iothreads"},
        {def->blkio.weight || def->blkio.ndevices, "blkiotune"},
        {def->resource && (def->resource->partition || def->resource->appid), "a resource partition"},
        {def->idmap.nuidmap || def->idmap.ngidmap, "idmap"},
        {def->keywrap != nullptr, "keywrap"},
        {def->sec != nullptr, "launch security"},
    }));
    for (size_t i = 0; i < def->maxvcpus; i++) {
        const virDomainVcpuDef *vcpu = def->vcpus[i];
        if (vcpu && (vcpu->cpumask || vcpu->sched.policy != VIR_PROC_POLICY_NONE))
            return unsupported("vCPU pinning (cputune)");
    }
    for (const int event : def->perf.events) {
        if (event == VIR_TRISTATE_BOOL_YES)
            return unsupported("perf events");
    }
    for (size_t i = 0; i < def->nseclabels; i++) {
        if (def->seclabels[i]->type != VIR_DOMAIN_SECLABEL_NONE)
            return unsupported("a security label");
    }
    return {};
}

Result<void> checkCpu(const virDomainDef *def)
{
    const virCPUDef *cpu = def->cpu;
    if (!cpu)
        return {};
    TRY(refuse(nullptr, {
        {cpu->mode == VIR_CPU_MODE_HOST_MODEL, "CPU mode 'host-model'"},
        {cpu->mode == VIR_CPU_MODE_HOST_PASSTHROUGH && def->virtType != VIR_DOMAIN_VIRT_KVM,
         "CPU mode 'host-passthrough' without KVM"},
        {cpu->model && cpu->match == VIR_CPU_MATCH_MINIMUM, "CPU match 'minimum'"},
        {cpu->model && cpu->match == VIR_CPU_MATCH_STRICT, "CPU match 'strict'"},
        {cpu->check == VIR_CPU_CHECK_FULL, "CPU check 'full'"},
        {cpu->vendor != nullptr, "a CPU vendor requirement"},
        {cpu->cache != nullptr, "a CPU cache setting"},
        {cpu->addr != nullptr, "a CPU address size (maxphysaddr)"},
    }));
    if (cpu->sockets && cpu->sockets * cpu->dies * cpu->cores * cpu->threads != virDomainDefGetVcpusMax(def))
        return makeError(ErrorCode::InvalidArgument, tr("CPU topology gives %u vCPUs, but %u are defined"),
                         cpu->sockets * cpu->dies * cpu->cores * cpu->threads, virDomainDefGetVcpusMax(def));
    return {};
}

Result<void> checkKvmFeatures(const virDomainDef *def)
{
    if (!def->kvm_features)
        return {};
    static constexpr auto names = std::to_array<const char *>(
        {"hidden", "hint-dedicated", "poll-control", "pv-ipi", "dirty-ring"});
    static_assert(names.size() == VIR_DOMAIN_KVM_LAST);
    for (size_t i = 0; i < names.size(); i++) {
        if (i != VIR_DOMAIN_KVM_HIDDEN && def->kvm_features->features[i] == VIR_TRISTATE_SWITCH_ON)
            return unsupported(strprintf("KVM feature '%s'", names[i]));
    }
    return {};
}

Result<void> checkFeatures(const virDomainDef *def)
{
    // What needs nothing of us, or is passed on to QEMU.
    static constexpr auto known = std::to_array<int>({
        VIR_DOMAIN_FEATURE_ACPI, VIR_DOMAIN_FEATURE_APIC, VIR_DOMAIN_FEATURE_PAE, VIR_DOMAIN_FEATURE_PMU,
        VIR_DOMAIN_FEATURE_VMPORT, VIR_DOMAIN_FEATURE_SMM, VIR_DOMAIN_FEATURE_KVM,
    });
    for (int i = 0; i < VIR_DOMAIN_FEATURE_LAST; i++) {
        if (i == VIR_DOMAIN_FEATURE_CAPABILITIES || std::find(known.begin(), known.end(), i) != known.end())
            continue;
        // Some of these are no switches: a value of theirs may look like "off".
        const bool off = i == VIR_DOMAIN_FEATURE_VMCOREINFO && def->features[i] == VIR_TRISTATE_SWITCH_OFF;
        if (def->features[i] != VIR_TRISTATE_SWITCH_ABSENT && !off)
            return unsupported(strprintf("feature '%s'", virDomainFeatureTypeToString(i)));
    }
    if (def->apic_eoi != VIR_TRISTATE_SWITCH_ABSENT)
        return unsupported("feature 'apic' with eoi");
    if (def->tseg_specified)
        return unsupported("feature 'smm' with tseg");
    return checkKvmFeatures(def);
}

Result<void> checkTimer(const virDomainTimerDef *timer)
{
    const char *name = virDomainTimerNameTypeToString(timer->name);
    switch (timer->name) {
    case VIR_DOMAIN_TIMER_NAME_RTC:
        if (timer->present == VIR_TRISTATE_BOOL_NO)
            return unsupported("a machine without timer 'rtc'");
        if (timer->tickpolicy == VIR_DOMAIN_TIMER_TICKPOLICY_MERGE ||
            timer->tickpolicy == VIR_DOMAIN_TIMER_TICKPOLICY_DISCARD || timer->track == VIR_DOMAIN_TIMER_TRACK_BOOT)
            return unsupported("this tick policy or track of timer 'rtc'");
        break;
    case VIR_DOMAIN_TIMER_NAME_PIT:
        if (timer->tickpolicy != VIR_DOMAIN_TIMER_TICKPOLICY_NONE &&
            timer->tickpolicy != VIR_DOMAIN_TIMER_TICKPOLICY_DELAY)
            return unsupported("this tick policy of timer 'pit'");
        break;
    case VIR_DOMAIN_TIMER_NAME_HPET:
    case VIR_DOMAIN_TIMER_NAME_KVMCLOCK: break;
    case VIR_DOMAIN_TIMER_NAME_TSC:
        if (timer->mode != VIR_DOMAIN_TIMER_MODE_NONE && timer->mode != VIR_DOMAIN_TIMER_MODE_AUTO)
            return unsupported("this mode of timer 'tsc'");
        break;
    default: return unsupported(strprintf("timer '%s'", name));
    }
    if (timer->catchup.threshold || timer->catchup.slew || timer->catchup.limit)
        return unsupported(strprintf("catch-up limits of timer '%s'", name));
    return {};
}

Result<void> checkLifecycle(const virDomainDef *def)
{
    return refuse(nullptr, {
        {def->onPoweroff != VIR_DOMAIN_LIFECYCLE_ACTION_DESTROY, "an on_poweroff other than 'destroy'"},
        {def->onReboot != VIR_DOMAIN_LIFECYCLE_ACTION_RESTART && def->onReboot != VIR_DOMAIN_LIFECYCLE_ACTION_DESTROY,
         "an on_reboot other than 'restart' and 'destroy'"},
        {def->onCrash != VIR_DOMAIN_LIFECYCLE_ACTION_DESTROY && def->onCrash != VIR_DOMAIN_LIFECYCLE_ACTION_PRESERVE &&
             def->onCrash != VIR_DOMAIN_LIFECYCLE_ACTION_RESTART,
         "an on_crash that dumps core"},
        {def->onLockFailure != VIR_DOMAIN_LOCK_FAILURE_DEFAULT, "on_lockfailure"},
    });
}

} // namespace

Error unsupported(const std::string &what)
{
    return makeError(ErrorCode::Unsupported, tr("%s is not supported by the machine hypervisor"),
                     what.c_str());
}

Result<void> refuse(const char *device, std::initializer_list<Refusal> refusals)
{
    for (const Refusal &refusal : refusals) {
        if (refusal.asked)
            return unsupported(device ? strprintf("%s with %s", device, refusal.what) : refusal.what);
    }
    return {};
}

Result<void> checkSupport(const virDomainDef *def)
{
    TRY(checkMachine(def));
    TRY(checkBoot(def));
    TRY(checkMemory(def));
    TRY(checkTuning(def));
    TRY(checkCpu(def));
    TRY(checkFeatures(def));
    for (size_t i = 0; i < def->clock.ntimers; i++)
        TRY(checkTimer(def->clock.timers[i]));
    const bool plain = def->clock.offset == VIR_DOMAIN_CLOCK_OFFSET_UTC || def->clock.offset == VIR_DOMAIN_CLOCK_OFFSET_LOCALTIME;
    if (plain && def->clock.data.utc_reset)
        return unsupported("clock adjustment 'reset'");
    TRY(checkLifecycle(def));
    return checkDevices(def);
}

} // namespace godwit::hypervisor::machine
