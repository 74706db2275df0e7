// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/machine/command_line.h"

#include "base/strprintf.h"
#include "conf/libvirt_error.h"
#include "hypervisor/machine/machine_type.h"
#include "hypervisor/machine/memory_layout.h"

namespace godwit::hypervisor::machine {

using base::Result;
using base::strprintf;

void addPciAddress(Options &device, const virDomainDef *def, const virDomainDeviceInfo &info)
{
    if (info.type != VIR_DOMAIN_DEVICE_ADDRESS_TYPE_PCI)
        return;
    const virPCIDeviceAddress &pci = info.addr.pci;
    device.add("bus", isQ35(def) ? "pcie.0" : "pci.0");
    if (pci.multi == VIR_TRISTATE_SWITCH_ON)
        device.add("multifunction", true);
    device.add("addr", pci.function ? strprintf("0x%x.0x%x", pci.slot, pci.function) : strprintf("0x%x", pci.slot));
}

/// The device that <boot dev='…'/> number `order` means: the first of its kind, as in
/// libvirt's own drivers.
static const virDomainDeviceInfo *bootDevice(const virDomainDef *def, int kind)
{
    if (kind == VIR_DOMAIN_BOOT_NET)
        return def->nnets ? &def->nets[0]->info : nullptr;
    const int wanted = kind == VIR_DOMAIN_BOOT_CDROM ? VIR_DOMAIN_DISK_DEVICE_CDROM : VIR_DOMAIN_DISK_DEVICE_DISK;
    for (size_t i = 0; i < def->ndisks; i++) {
        if (def->disks[i]->device == wanted)
            return &def->disks[i]->info;
    }
    return nullptr;
}

unsigned bootIndexOf(const virDomainDef *def, const virDomainDeviceInfo &info)
{
    if (info.bootIndex)
        return info.bootIndex;
    unsigned index = 0;
    for (size_t i = 0; i < def->os.nBootDevs; i++) {
        const virDomainDeviceInfo *device = bootDevice(def, def->os.bootDevs[i]);
        if (device)
            index++;
        if (device == &info)
            return index;
    }
    return 0;
}

static void addMachine(ArgumentList &arguments, const virDomainDef *def)
{
    Options machine(def->os.machine);
    machine.add("accel", def->virtType == VIR_DOMAIN_VIRT_KVM ? "kvm" : "tcg");
    machine.add("usb", false).add("dump-guest-core", false);
    // A third of the device state were its description in JSON, sent while the guest stands still and read by nobody.
    machine.add("suppress-vmdesc", true);
    const int vmport = def->features[VIR_DOMAIN_FEATURE_VMPORT];
    if (vmport != VIR_TRISTATE_SWITCH_ABSENT)
        machine.add("vmport", vmport == VIR_TRISTATE_SWITCH_ON);
    const int smm = def->features[VIR_DOMAIN_FEATURE_SMM];
    if (smm != VIR_TRISTATE_SWITCH_ABSENT)
        machine.add("smm", smm == VIR_TRISTATE_SWITCH_ON);
    if (def->features[VIR_DOMAIN_FEATURE_ACPI] != VIR_TRISTATE_SWITCH_ON)
        machine.add("acpi", false);
    for (size_t i = 0; i < def->clock.ntimers; i++) {
        const virDomainTimerDef *timer = def->clock.timers[i];
        if (timer->name == VIR_DOMAIN_TIMER_NAME_HPET && timer->present != VIR_TRISTATE_BOOL_ABSENT)
            machine.add("hpet", timer->present == VIR_TRISTATE_BOOL_YES);
        if (timer->name == VIR_DOMAIN_TIMER_NAME_PIT && timer->present == VIR_TRISTATE_BOOL_NO)
            machine.add("pit", false);
    }
    machine.add("memory-backend", "ram0").add("max-ram-below-4g", lowMemoryEnd);
    arguments.option("-machine", machine);
}

static void addMemory(ArgumentList &arguments, const virDomainDef *def, const CommandLineInputs &inputs)
{
    const uint64_t kib = virDomainDefGetMemoryInitial(const_cast<virDomainDef *>(def));
    arguments.option("-m", Options().add("size", strprintf("%lluk", static_cast<unsigned long long>(kib))));
    Options ram("memory-backend-file");
    ram.add("id", "ram0").add("size", kib * 1024).add("mem-path", strprintf("/proc/self/fd/%d", inputs.ramFd));
    // The file is there and has its size: nothing of it is touched before the guest does.
    ram.add("share", true).add("prealloc", false);
    arguments.option("-object", ram);
}

static void addProcessors(ArgumentList &arguments, const virDomainDef *def)
{
    const unsigned most = virDomainDefGetVcpusMax(def);
    Options smp(std::to_string(virDomainDefGetVcpus(def)));
    smp.add("maxcpus", most);
    const virCPUDef *cpu = def->cpu;
    if (cpu && cpu->sockets) {
        smp.add("sockets", cpu->sockets);
        if (cpu->dies > 1)
            smp.add("dies", cpu->dies);
        smp.add("cores", cpu->cores).add("threads", cpu->threads);
    } else {
        smp.add("sockets", most).add("cores", 1).add("threads", 1);
    }
    arguments.option("-smp", smp);
}

/// A moment as QEMU's -rtc wants it.
static std::string rtcDate(time_t moment)
{
    tm date{};
    gmtime_r(&moment, &date);
    char text[32];
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &date);
    return text;
}

static void addClock(CommandLine &line, const virDomainDef *def, const CommandLineInputs &inputs)
{
    Options rtc;
    const virDomainClockDef &clock = def->clock;
    switch (clock.offset) {
    case VIR_DOMAIN_CLOCK_OFFSET_LOCALTIME: rtc.add("base", "localtime"); break;
    case VIR_DOMAIN_CLOCK_OFFSET_TIMEZONE:
        rtc.add("base", "localtime");
        line.environment.emplace_back("TZ", clock.data.timezone);
        break;
    case VIR_DOMAIN_CLOCK_OFFSET_VARIABLE: {
        time_t start = inputs.now + clock.data.variable.adjustment;
        if (clock.data.variable.basis == VIR_DOMAIN_CLOCK_BASIS_LOCALTIME) {
            tm local{};
            localtime_r(&start, &local);
            start += local.tm_gmtoff;
        }
        rtc.add("base", rtcDate(start));
        break;
    }
    case VIR_DOMAIN_CLOCK_OFFSET_ABSOLUTE:
        rtc.add("base", rtcDate(static_cast<time_t>(clock.data.starttime)));
        break;
    default: rtc.add("base", "utc");
    }
    for (size_t i = 0; i < clock.ntimers; i++) {
        const virDomainTimerDef *timer = clock.timers[i];
        if (timer->name != VIR_DOMAIN_TIMER_NAME_RTC)
            continue;
        if (timer->tickpolicy == VIR_DOMAIN_TIMER_TICKPOLICY_CATCHUP)
            rtc.add("driftfix", "slew");
        if (timer->track == VIR_DOMAIN_TIMER_TRACK_GUEST)
            rtc.add("clock", "vm");
        else if (timer->track == VIR_DOMAIN_TIMER_TRACK_REALTIME)
            rtc.add("clock", "rt");
    }
    ArgumentList(line.arguments).option("-rtc", rtc);
}

static void addBoot(ArgumentList &arguments, const virDomainDef *def)
{
    Options boot;
    if (def->os.bootmenu != VIR_TRISTATE_BOOL_ABSENT)
        boot.add("menu", def->os.bootmenu == VIR_TRISTATE_BOOL_YES);
    if (def->os.bm_timeout_set)
        boot.add("splash-time", def->os.bm_timeout);
    if (def->os.bios.rt_set)
        boot.add("reboot-timeout", def->os.bios.rt_delay);
    boot.add("strict", true);
    arguments.option("-boot", boot);
    if (!def->os.kernel)
        return;
    arguments.option("-kernel", def->os.kernel);
    if (def->os.initrd)
        arguments.option("-initrd", def->os.initrd);
    if (def->os.cmdline)
        arguments.option("-append", def->os.cmdline);
}

static void addPowerManagement(ArgumentList &arguments, const virDomainDef *def)
{
    const char *device = isQ35(def) ? "ICH9-LPC" : "PIIX4_PM";
    if (def->pm.s3 != VIR_TRISTATE_BOOL_ABSENT)
        arguments.option("-global", strprintf("%s.disable_s3=%d", device, def->pm.s3 == VIR_TRISTATE_BOOL_NO));
    if (def->pm.s4 != VIR_TRISTATE_BOOL_ABSENT)
        arguments.option("-global", strprintf("%s.disable_s4=%d", device, def->pm.s4 == VIR_TRISTATE_BOOL_NO));
}

static void addIdentity(ArgumentList &arguments, const virDomainDef *def)
{
    arguments.option("-name", Options().add("guest", def->name).add("debug-threads", true));
    arguments.flag("-S");
    arguments.flag("-no-user-config");
    arguments.flag("-nodefaults");
    char uuid[VIR_UUID_STRING_BUFLEN];
    arguments.option("-uuid", virUUIDFormat(def->uuid, uuid));
}

static void addMonitor(ArgumentList &arguments, const virDomainDef *def, const CommandLineInputs &inputs)
{
    arguments.option("-chardev", Options("socket").add("id", "charmonitor").add("fd", inputs.monitorFd)
                                     .add("server", true).add("wait", false));
    arguments.option("-mon", Options().add("chardev", "charmonitor").add("id", "monitor").add("mode", "control"));
    // A guest that powers off stays until we have seen it: we end the process.
    arguments.flag("-no-shutdown");
    if (def->onReboot == VIR_DOMAIN_LIFECYCLE_ACTION_DESTROY)
        arguments.option("-action", "reboot=shutdown");
}

Result<CommandLine> buildCommandLine(const virDomainDef *def, const CommandLineInputs &inputs)
{
    CommandLine line;
    line.arguments.push_back(inputs.emulator);
    ArgumentList arguments(line.arguments);

    addIdentity(arguments, def);
    addMachine(arguments, def);
    arguments.option("-cpu", TRY(cpuArgument(def)));
    addMemory(arguments, def, inputs);
    addProcessors(arguments, def);
    addMonitor(arguments, def, inputs);
    addClock(line, def, inputs);
    addPowerManagement(arguments, def);
    addBoot(arguments, def);
    addControllers(arguments, def);
    TRY(addDisks(arguments, def));
    addNics(arguments, def, inputs);
    TRY(addCharacterDevices(arguments, def, inputs));
    addDisplay(arguments, def, inputs);
    addOtherDevices(arguments, def);
    arguments.option("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    arguments.option("-msg", "timestamp=on");
    if (inputs.incoming)
        arguments.option("-incoming", "defer");

    line.fds = {inputs.monitorFd, inputs.ramFd};
    for (const int fd : inputs.tapFds) {
        if (fd >= 0)
            line.fds.push_back(fd);
    }
    if (inputs.agent.empty())
        return line;
    line.launch = {inputs.launcher, inputs.agent, inputs.ramId};
    if (inputs.demandFd >= 0) {
        line.launch.back() += ":" + std::to_string(inputs.demandFd);
        line.fds.push_back(inputs.demandFd);
    }
    return line;
}

} // namespace godwit::hypervisor::machine
