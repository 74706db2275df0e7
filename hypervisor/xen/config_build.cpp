// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/i18n.h"
#include "base/log.h"
#include "base/strprintf.h"
#include "conf/libvirt_error.h"
#include "hypervisor/xen/config.h"
#include "hypervisor/xen/definition.h"

namespace godwit::hypervisor::xen {

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::strprintf;
using base::tr;

// libxl's build info: CPUs, clock, memory, what boots, what is emulated.

static bool isHvm(const virDomainDef *def)
{
    return def->os.type == VIR_DOMAIN_OSTYPE_HVM;
}

static bool isPvh(const virDomainDef *def)
{
    return def->os.type == VIR_DOMAIN_OSTYPE_XENPVH;
}

static Result<void> vcpus(const ConfigContext &context, const virDomainDef *def, libxl_domain_build_info *info)
{
    info->max_vcpus = static_cast<int>(virDomainDefGetVcpusMax(def));
    if (libxl_cpu_bitmap_alloc(context.ctx, &info->avail_vcpus, info->max_vcpus))
        return makeError(ErrorCode::Internal, "libxl_cpu_bitmap_alloc");
    libxl_bitmap_set_none(&info->avail_vcpus);
    for (unsigned i = 0; i < virDomainDefGetVcpus(def); i++)
        libxl_bitmap_set(&info->avail_vcpus, static_cast<int>(i));

    size_t pinned = 0;   // up to the last vCPU that is
    for (size_t i = 0; i < def->maxvcpus; i++) {
        if (def->vcpus[i]->cpumask)
            pinned = i + 1;
    }
    if (pinned == 0)
        return {};
    info->vcpu_hard_affinity = array<libxl_bitmap>(pinned);
    for (size_t i = 0; i < pinned; i++) {
        libxl_bitmap *map = &info->vcpu_hard_affinity[i];
        libxl_bitmap_init(map);
        info->num_vcpu_hard_affinity++;
        if (libxl_cpu_bitmap_alloc(context.ctx, map, 0))
            return makeError(ErrorCode::Internal, "libxl_cpu_bitmap_alloc");
        if (const virBitmap *mask = def->vcpus[i]->cpumask)
            virBitmapToDataBuf(const_cast<virBitmap *>(mask), map->map, map->size);
        else
            libxl_bitmap_set_any(map);
    }
    libxl_defbool_set(&info->numa_placement, false);
    return {};
}

static Result<void> timer(const virDomainDef *def, const virDomainTimerDef *timer, libxl_domain_build_info *info)
{
    if (timer->name == VIR_DOMAIN_TIMER_NAME_TSC) {
        switch (timer->mode) {
        case VIR_DOMAIN_TIMER_MODE_NATIVE: info->tsc_mode = LIBXL_TSC_MODE_NATIVE; break;
        case VIR_DOMAIN_TIMER_MODE_PARAVIRT: info->tsc_mode = LIBXL_TSC_MODE_NATIVE_PARAVIRT; break;
        case VIR_DOMAIN_TIMER_MODE_EMULATE: info->tsc_mode = LIBXL_TSC_MODE_ALWAYS_EMULATE; break;
        default: info->tsc_mode = LIBXL_TSC_MODE_DEFAULT; break;
        }
        return {};
    }
    if (timer->name == VIR_DOMAIN_TIMER_NAME_HPET && isHvm(def)) {
        if (timer->present == VIR_TRISTATE_BOOL_YES)
            libxl_defbool_set(&info->u.hvm.hpet, true);
        return {};
    }
    return unsupported(strprintf(tr("timer '%s' for this type of guest"),
                                 virDomainTimerNameTypeToString(timer->name)));
}

static Result<void> clock(const virDomainDef *def, libxl_domain_build_info *info)
{
    const virDomainClockDef &clock = def->clock;
    switch (clock.offset) {
    case VIR_DOMAIN_CLOCK_OFFSET_UTC: break;
    case VIR_DOMAIN_CLOCK_OFFSET_LOCALTIME: libxl_defbool_set(&info->localtime, true); break;
    case VIR_DOMAIN_CLOCK_OFFSET_VARIABLE:
        if (clock.data.variable.basis == VIR_DOMAIN_CLOCK_BASIS_LOCALTIME)
            libxl_defbool_set(&info->localtime, true);
        info->rtc_timeoffset = static_cast<uint32_t>(clock.data.variable.adjustment);
        break;
    default:
        return unsupported(strprintf(tr("clock offset '%s'"), virDomainClockOffsetTypeToString(clock.offset)));
    }
    for (size_t i = 0; i < clock.ntimers; i++)
        TRY(timer(def, clock.timers[i], info));
    return {};
}

static void memory(const virDomainDef *def, libxl_domain_build_info *info)
{
    info->max_memkb = wholeMib(virDomainDefGetMemoryInitial(def));
    info->target_memkb = wholeMib(def->mem.cur_balloon);
    for (size_t i = 0; i < def->ncontrollers; i++) {
        if (def->controllers[i]->type != VIR_DOMAIN_CONTROLLER_TYPE_XENBUS)
            continue;
        const auto &bus = def->controllers[i]->opts.xenbusopts;
        if (bus.maxEventChannels > 0)
            info->event_channels = static_cast<uint32_t>(bus.maxEventChannels);
        if (bus.maxGrantFrames > 0)
            info->max_grant_frames = static_cast<uint32_t>(bus.maxGrantFrames);
    }
}

/// Guests that see the host's CPU, but for these features.
static Result<void> cpu(const ConfigContext &context, const virDomainDef *def, libxl_domain_build_info *info)
{
    if (!def->cpu || isHvm(def) + isPvh(def) == 0)
        return {};
    if (def->cpu->mode == VIR_CPU_MODE_CUSTOM)
        log(base::LogLevel::Warning, "domain '%s': a custom CPU is not made on Xen: its guest sees the host's",
            def->name);
    if (!context.capabilities || def->cpu->mode != VIR_CPU_MODE_HOST_PASSTHROUGH)
        return {};
    const virCaps *caps = context.capabilities;
    bool vmx = false, svm = false, nested = false;
    if (ARCH_IS_X86(def->os.arch) && caps->host.cpu) {
        vmx = virCPUCheckFeature(caps->host.arch, caps->host.cpu, "vmx") == 1;
        svm = virCPUCheckFeature(caps->host.arch, caps->host.cpu, "svm") == 1;
        nested = context.nestedHvm && (vmx || svm);
    }
    for (size_t i = 0; i < def->cpu->nfeatures; i++) {
        const virCPUFeatureDef &feature = def->cpu->features[i];
        const bool off = feature.policy == VIR_CPU_FEATURE_DISABLE || feature.policy == VIR_CPU_FEATURE_FORBID;
        const bool on = feature.policy == VIR_CPU_FEATURE_FORCE || feature.policy == VIR_CPU_FEATURE_REQUIRE;
        if (!on && !off)
            continue;
        if ((vmx && STREQ(feature.name, "vmx")) || (svm && STREQ(feature.name, "svm"))) {
            nested = on;
            continue;
        }
        const std::string setting = strprintf("%s=%d", xenCpuFeature(feature.name), on);
        if (libxl_cpuid_parse_config(&info->cpuid, setting.c_str()))
            return unsupported(strprintf(tr("CPU feature '%s'"), feature.name));
    }
    libxl_defbool_set(&info->nested_hvm, nested);
    return {};
}

static Result<std::string> charDevice(const virDomainChrDef *device)
{
    const virDomainChrSourceDef *source = device->source;
    const char *type = virDomainChrTypeToString(source->type);
    const auto orEmpty = [](const char *text) { return text ? text : ""; };
    switch (source->type) {
    case VIR_DOMAIN_CHR_TYPE_NULL:
    case VIR_DOMAIN_CHR_TYPE_STDIO:
    case VIR_DOMAIN_CHR_TYPE_VC:
    case VIR_DOMAIN_CHR_TYPE_PTY: return std::string(type);
    case VIR_DOMAIN_CHR_TYPE_FILE:
    case VIR_DOMAIN_CHR_TYPE_PIPE: return strprintf("%s:%s", type, source->data.file.path);
    case VIR_DOMAIN_CHR_TYPE_DEV: return std::string(source->data.file.path);
    case VIR_DOMAIN_CHR_TYPE_UDP: {
        const auto &udp = source->data.udp;
        return strprintf("udp:%s:%s@%s:%s", orEmpty(udp.connectHost), udp.connectService, orEmpty(udp.bindHost),
                         udp.bindService ? udp.bindService : "0");
    }
    case VIR_DOMAIN_CHR_TYPE_TCP: {
        const auto &tcp = source->data.tcp;
        return strprintf("%s:%s:%s%s", tcp.protocol == VIR_DOMAIN_CHR_TCP_PROTOCOL_TELNET ? "telnet" : "tcp",
                         tcp.host, tcp.service, tcp.listen ? ",server,nowait" : "");
    }
    case VIR_DOMAIN_CHR_TYPE_UNIX:
        return strprintf("unix:%s%s", source->data.nix.path, source->data.nix.listen ? ",server,nowait" : "");
    default: return unsupported(strprintf(tr("character devices of type '%s'"), type));
    }
}

static Result<void> serials(const virDomainDef *def, libxl_domain_build_info *info)
{
    if (def->nparallels)
        return unsupported(tr("parallel ports"));
    if (def->nserials == 1) {
        info->u.hvm.serial = copy(TRY(charDevice(def->serials[0])).c_str());
    } else if (def->nserials > 1) {
        info->u.hvm.serial_list = array<char *>(def->nserials + 1);
        for (size_t i = 0; i < def->nserials; i++)
            info->u.hvm.serial_list[i] = copy(TRY(charDevice(def->serials[i])).c_str());
    }
    return {};
}

static Result<void> usbInputs(const virDomainDef *def, libxl_domain_build_info *info)
{
    size_t count = 0;
    for (size_t i = 0; i < def->ninputs; i++) {
        if (def->inputs[i]->bus != VIR_DOMAIN_INPUT_BUS_USB)
            continue;
        const int type = def->inputs[i]->type;
        if (type != VIR_DOMAIN_INPUT_TYPE_MOUSE && type != VIR_DOMAIN_INPUT_TYPE_TABLET)
            return unsupported(strprintf(tr("input devices of type '%s' on USB"), virDomainInputTypeToString(type)));
        if (!info->u.hvm.usbdevice_list)
            info->u.hvm.usbdevice_list = array<char *>(def->ninputs + 1);
        info->u.hvm.usbdevice_list[count++] = copy(type == VIR_DOMAIN_INPUT_TYPE_MOUSE ? "mouse" : "tablet");
    }
    return {};
}

static std::string bootOrder(const virDomainDef *def)
{
    std::string order;
    for (size_t i = 0; i < def->os.nBootDevs; i++) {
        switch (def->os.bootDevs[i]) {
        case VIR_DOMAIN_BOOT_FLOPPY: order += 'a'; break;
        case VIR_DOMAIN_BOOT_CDROM: order += 'd'; break;
        case VIR_DOMAIN_BOOT_NET: order += 'n'; break;
        default: order += 'c'; break;
        }
    }
    return order.empty() ? "c" : order;
}

static Result<void> emulator(const virDomainDef *def, libxl_domain_build_info *info)
{
    if (!def->emulator)
        return {};
    if (!virFileExists(def->emulator))
        return unsupported(strprintf(tr("emulator '%s': there is no such file"), def->emulator));
    if (!virFileIsExecutable(def->emulator))
        return unsupported(strprintf(tr("emulator '%s', which cannot be executed"), def->emulator));
    std::free(info->device_model);
    info->device_model = copy(def->emulator);
    info->device_model_version = deviceModelOf(def);
    return {};
}

static void setFeature(libxl_defbool *where, const virDomainDef *def, virDomainFeature feature)
{
    libxl_defbool_set(where, def->features[feature] == VIR_TRISTATE_SWITCH_ON);
}

static void kernel(const virDomainDef *def, libxl_domain_build_info *info)
{
    info->cmdline = copy(def->os.cmdline);
    info->kernel = copy(def->os.kernel);
    info->ramdisk = copy(def->os.initrd);
}

static Result<void> hvm(const virDomainDef *def, libxl_domain_build_info *info)
{
    setFeature(&info->u.hvm.pae, def, VIR_DOMAIN_FEATURE_PAE);
    setFeature(&info->apic, def, VIR_DOMAIN_FEATURE_APIC);
    setFeature(&info->acpi, def, VIR_DOMAIN_FEATURE_ACPI);
    info->u.hvm.acpi_firmware = copy(def->os.slic_table);
    if (def->nsounds > 0) {
        const int model = def->sounds[0]->model;
        info->u.hvm.soundhw = copy(model == VIR_DOMAIN_SOUND_MODEL_ICH6 ? "hda"
                                                                        : virDomainSoundModelTypeToString(model));
    }
    info->u.hvm.boot = copy(bootOrder(def).c_str());
    kernel(def, info);
    if (def->os.firmware == VIR_DOMAIN_OS_DEF_FIRMWARE_EFI || virDomainDefHasOldStyleUEFI(def))
        info->u.hvm.bios = LIBXL_BIOS_TYPE_OVMF;
    TRY(emulator(def, info));
    TRY(serials(def, info));
    // Off until a graphics device turns one on.
    libxl_defbool_set(&info->u.hvm.vnc.enable, false);
    libxl_defbool_set(&info->u.hvm.sdl.enable, false);
    return usbInputs(def, info);
}

static char **words(const char *text)
{
    return text ? g_strsplit(text, " \t\n", 0) : nullptr;
}

static void pvh(const virDomainDef *def, libxl_domain_build_info *info)
{
    kernel(def, info);
    info->bootloader = copy(def->os.bootloader);
    info->bootloader_args = words(def->os.bootloaderArgs);
}

/// Guests without kernel and boot loader are booted by pygrub, as ever.
static constexpr const char *defaultBootloader = "pygrub";

static void pv(const virDomainDef *def, libxl_domain_build_info *info)
{
    if (def->os.bootloader)
        info->u.pv.bootloader = copy(def->os.bootloader);
    else if (!def->os.kernel)
        info->u.pv.bootloader = copy(defaultBootloader);
    info->u.pv.bootloader_args = words(def->os.bootloaderArgs);
    info->u.pv.cmdline = copy(def->os.cmdline);
    if (def->os.kernel) {
        std::free(info->u.pv.kernel);
        info->u.pv.kernel = copy(def->os.kernel);
    }
    info->u.pv.ramdisk = copy(def->os.initrd);
    const int e820 = def->xen_features[VIR_DOMAIN_XEN_E820_HOST];
    if (def->features[VIR_DOMAIN_FEATURE_XEN] == VIR_TRISTATE_SWITCH_ON && e820 != VIR_TRISTATE_SWITCH_ABSENT)
        libxl_defbool_set(&info->u.pv.e820_host, e820 == VIR_TRISTATE_SWITCH_ON);
}

Result<void> buildInfo(const ConfigContext &context, const virDomainDef *def, libxl_domain_config *out)
{
    libxl_domain_build_info *info = &out->b_info;
    libxl_domain_build_info_init_type(info, out->c_info.type);
    TRY(vcpus(context, def, info));
    TRY(clock(def, info));
    if (def->cputune.sharesSpecified)
        info->sched_params.weight = static_cast<int>(def->cputune.shares);
    memory(def, info);
    TRY(cpu(context, def, info));
    if (isHvm(def))
        TRY(hvm(def, info));
    else if (isPvh(def))
        pvh(def, info);
    else
        pv(def, info);
    info->shadow_memkb = libxl_get_required_shadow_memory(info->max_memkb, static_cast<unsigned>(info->max_vcpus));
    if (const auto *extra = static_cast<const XenCommandLine *>(def->namespaceData)) {
        info->extra = array<char *>(extra->count + 1);
        for (size_t i = 0; i < extra->count; i++)
            info->extra[i] = copy(extra->arguments[i]);
    }
    return {};
}

} // namespace godwit::hypervisor::xen
