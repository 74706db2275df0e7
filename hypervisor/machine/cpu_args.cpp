// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/machine/command_line.h"

#include <algorithm>

namespace godwit::hypervisor::machine {

using base::Result;

/// libvirt's name of a CPU feature as QEMU spells it.
static std::string featureName(std::string name)
{
    if (name == "pclmuldq")
        return "pclmulqdq";
    std::replace(name.begin(), name.end(), '_', '-');
    return name;
}

static void addTimers(Options &cpu, const virDomainDef *def)
{
    for (size_t i = 0; i < def->clock.ntimers; i++) {
        const virDomainTimerDef *timer = def->clock.timers[i];
        if (timer->name == VIR_DOMAIN_TIMER_NAME_KVMCLOCK && timer->present != VIR_TRISTATE_BOOL_ABSENT)
            cpu.add("kvmclock", timer->present == VIR_TRISTATE_BOOL_YES);
        if (timer->name == VIR_DOMAIN_TIMER_NAME_TSC && timer->frequency)
            cpu.add("tsc-frequency", static_cast<uint64_t>(timer->frequency));
    }
}

Result<std::string> cpuArgument(const virDomainDef *def)
{
    const virCPUDef *cpu = def->cpu;
    const char *model = "qemu64";
    if (cpu && cpu->mode == VIR_CPU_MODE_HOST_PASSTHROUGH)
        model = "host";
    else if (cpu && cpu->mode == VIR_CPU_MODE_MAXIMUM)
        model = "max";
    else if (cpu && cpu->model)
        model = cpu->model;
    Options out(model);
    if (cpu && cpu->migratable != VIR_TRISTATE_SWITCH_ABSENT && !cpu->model)
        out.add("migratable", cpu->migratable == VIR_TRISTATE_SWITCH_ON);
    if (cpu && cpu->model && cpu->vendor_id)
        out.add("vendor", cpu->vendor_id);
    for (size_t i = 0; cpu && i < cpu->nfeatures; i++) {
        const virCPUFeatureDef &feature = cpu->features[i];
        const bool on = feature.policy != VIR_CPU_FEATURE_DISABLE && feature.policy != VIR_CPU_FEATURE_FORBID;
        out.add(featureName(feature.name), on);
    }
    addTimers(out, def);
    if (def->features[VIR_DOMAIN_FEATURE_PMU] != VIR_TRISTATE_SWITCH_ABSENT)
        out.add("pmu", def->features[VIR_DOMAIN_FEATURE_PMU] == VIR_TRISTATE_SWITCH_ON);
    if (def->features[VIR_DOMAIN_FEATURE_KVM] == VIR_TRISTATE_SWITCH_ON && def->kvm_features &&
        def->kvm_features->features[VIR_DOMAIN_KVM_HIDDEN] == VIR_TRISTATE_SWITCH_ON)
        out.add("kvm", false);
    return static_cast<const std::string &>(out);
}

} // namespace godwit::hypervisor::machine
