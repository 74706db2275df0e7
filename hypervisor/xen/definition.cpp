// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/xen/definition.h"

#include "base/i18n.h"
#include "base/strprintf.h"
#include "conf/handle.h"
#include "conf/libvirt_error.h"
#include "hypervisor/xen/config.h"

#include <array>

namespace godwit::hypervisor::xen {

using base::Result;
using base::strprintf;
using base::tr;

// ---- names -------------------------------------------------------------------------------

struct FeatureNames {
    const char *libvirt, *xen;
};
static constexpr auto featureNames = std::to_array<FeatureNames>({
    {"cx16", "cmpxchg16"},     {"cid", "cntxid"},         {"ds_cpl", "dscpl"},       {"pclmuldq", "pclmulqdq"},
    {"pni", "sse3"},           {"ht", "htt"},             {"pn", "psn"},             {"clflush", "clfsh"},
    {"sep", "sysenter"},       {"cx8", "cmpxchg8"},       {"nodeid_msr", "nodeid"},  {"cr8legacy", "altmovcr8"},
    {"lahf_lm", "lahfsahf"},   {"cmp_legacy", "cmplegacy"}, {"fxsr_opt", "ffxsr"},   {"pdpe1gb", "page1gb"},
    {"spec-ctrl", "ibrsb"},
});

const char *xenCpuFeature(const char *name)
{
    for (const FeatureNames &names : featureNames) {
        if (STREQ(names.libvirt, name))
            return names.xen;
    }
    return name;
}

const char *libvirtCpuFeature(const char *name)
{
    for (const FeatureNames &names : featureNames) {
        if (STREQ(names.xen, name))
            return names.libvirt;
    }
    return name;
}

static void freeCommandLine(void *data)
{
    auto *extra = static_cast<XenCommandLine *>(data);
    for (size_t i = 0; i < extra->count; i++)
        g_free(extra->arguments[i]);
    g_free(extra->arguments);
    g_free(extra);
}

static int parseCommandLine(xmlXPathContextPtr context, void **data)
{
    xmlNodePtr *nodes = nullptr;
    const int count = virXPathNodeSet("./xen:commandline/xen:arg", context, &nodes);
    std::unique_ptr<xmlNodePtr, conf::FreeWith<g_free>> owner(nodes);
    if (count <= 0)
        return count;
    std::unique_ptr<XenCommandLine, conf::FreeWith<freeCommandLine>> extra(g_new0(XenCommandLine, 1));
    extra->arguments = g_new0(char *, static_cast<size_t>(count) + 1);
    for (int i = 0; i < count; i++) {
        conf::Text value(virXMLPropString(nodes[i], "value"));
        if (!value) {
            conf::raise(makeError(base::ErrorCode::InvalidArgument, "%s", tr("an <xen:arg> has no value")));
            return -1;
        }
        extra->arguments[extra->count++] = value.release();
    }
    *data = extra.release();
    return 0;
}

static int formatCommandLine(virBuffer *out, void *data)
{
    const auto *extra = static_cast<const XenCommandLine *>(data);
    if (extra->count == 0)
        return 0;
    virBufferAddLit(out, "<xen:commandline>\n");
    virBufferAdjustIndent(out, 2);
    for (size_t i = 0; i < extra->count; i++)
        virBufferEscapeString(out, "<xen:arg value='%s'/>\n", extra->arguments[i]);
    virBufferAdjustIndent(out, -2);
    virBufferAddLit(out, "</xen:commandline>\n");
    return 0;
}

virXMLNamespace xenNamespace()
{
    return {parseCommandLine, freeCommandLine, formatCommandLine, "xen", "http://libvirt.org/schemas/domain/xen/1.0"};
}

// ---- defaults ----------------------------------------------------------------------------

static Result<void> addConsole(virDomainDef *def)
{
    virDomainChrDef *console = TRY(conf::check(virDomainChrDefNew(nullptr)));
    console->source->type = VIR_DOMAIN_CHR_TYPE_PTY;
    console->deviceType = VIR_DOMAIN_CHR_DEVICE_TYPE_CONSOLE;
    console->target.port = 0;
    console->targetType = VIR_DOMAIN_CHR_CONSOLE_TARGET_TYPE_XEN;
    def->consoles = g_new0(virDomainChrDef *, 1);
    def->consoles[0] = console;
    def->nconsoles = 1;
    return {};
}

Result<void> completeDefinition(virDomainDef *def)
{
    const bool hvm = def->os.type == VIR_DOMAIN_OSTYPE_HVM;
    // Guests without emulated devices always have Xen's console.
    if (!hvm && def->nconsoles == 0)
        TRY(addConsole(def));
    const int bus = hvm ? VIR_DOMAIN_INPUT_BUS_PS2 : VIR_DOMAIN_INPUT_BUS_XEN;
    TRY(conf::check(virDomainDefMaybeAddInput(def, VIR_DOMAIN_INPUT_TYPE_MOUSE, bus)));
    TRY(conf::check(virDomainDefMaybeAddInput(def, VIR_DOMAIN_INPUT_TYPE_KBD, bus)));
    if (hvm && def->os.arch == VIR_ARCH_X86_64) {
        def->features[VIR_DOMAIN_FEATURE_PAE] = VIR_TRISTATE_SWITCH_ON;
        if (virDomainNumaGetNodeCount(def->numa) > 0)
            def->features[VIR_DOMAIN_FEATURE_ACPI] = VIR_TRISTATE_SWITCH_ON;
    }
    if (!def->memballoon) {
        def->memballoon = g_new0(virDomainMemballoonDef, 1);
        def->memballoon->model = VIR_DOMAIN_MEMBALLOON_MODEL_XEN;
    }
    if (virDomainControllerFindByType(def, VIR_DOMAIN_CONTROLLER_TYPE_XENBUS) == -1)
        TRY(conf::check(virDomainDefAddController(def, VIR_DOMAIN_CONTROLLER_TYPE_XENBUS, -1, -1)));
    return {};
}

libxl_device_model_version deviceModelOf(const virDomainDef *def)
{
    if (def->os.type != VIR_DOMAIN_OSTYPE_HVM || !def->emulator || !virFileExists(def->emulator))
        return LIBXL_DEVICE_MODEL_VERSION_QEMU_XEN;
    std::unique_ptr<virCommand, conf::FreeWith<virCommandFree>> command(virCommandNew(def->emulator));
    virCommandAddArg(command.get(), "-help");
    char *output = nullptr;
    virCommandSetOutputBuffer(command.get(), &output);
    const int result = virCommandRun(command.get(), nullptr);
    conf::Text text(output);
    if (result < 0) {
        virResetLastError();
        return LIBXL_DEVICE_MODEL_VERSION_QEMU_XEN;
    }
    return text && strstr(text.get(), "Options specific to the Xen version:")
               ? LIBXL_DEVICE_MODEL_VERSION_QEMU_XEN_TRADITIONAL
               : LIBXL_DEVICE_MODEL_VERSION_QEMU_XEN;
}

static void completeVideo(virDomainVideoDef *video, const virDomainDef *def)
{
    if (video->type == VIR_DOMAIN_VIDEO_TYPE_DEFAULT)
        video->type = def->os.type == VIR_DOMAIN_OSTYPE_XEN || def->os.type == VIR_DOMAIN_OSTYPE_LINUX
                          ? VIR_DOMAIN_VIDEO_TYPE_XEN
                          : VIR_DOMAIN_VIDEO_TYPE_CIRRUS;
    if (def->os.type != VIR_DOMAIN_OSTYPE_HVM || video->vram != 0)
        return;
    const bool upstream = deviceModelOf(def) == LIBXL_DEVICE_MODEL_VERSION_QEMU_XEN;
    switch (video->type) {
    case VIR_DOMAIN_VIDEO_TYPE_VGA:
    case VIR_DOMAIN_VIDEO_TYPE_XEN: video->vram = (upstream ? 16 : 8) * 1024; break;
    case VIR_DOMAIN_VIDEO_TYPE_CIRRUS: video->vram = (upstream ? 8 : 4) * 1024; break;
    case VIR_DOMAIN_VIDEO_TYPE_QXL: video->vram = 128 * 1024; break;
    default: break;
    }
}

static Result<void> completeHostDevice(virDomainHostdevDef *device)
{
    if (device->mode == VIR_DOMAIN_HOSTDEV_MODE_CAPABILITIES)
        return unsupported(tr("host devices of mode 'capabilities'"));
    auto &pci = device->source.subsys.u.pci;
    if (device->mode == VIR_DOMAIN_HOSTDEV_MODE_SUBSYS &&
        device->source.subsys.type == VIR_DOMAIN_HOSTDEV_SUBSYS_TYPE_PCI &&
        pci.backend == VIR_DOMAIN_HOSTDEV_PCI_BACKEND_DEFAULT)
        pci.backend = VIR_DOMAIN_HOSTDEV_PCI_BACKEND_XEN;
    return {};
}

Result<void> completeDevice(virDomainDeviceDef *device, const virDomainDef *def)
{
    switch (device->type) {
    case VIR_DOMAIN_DEVICE_CHR: {
        virDomainChrDef *chr = device->data.chr;
        if (chr->deviceType == VIR_DOMAIN_CHR_DEVICE_TYPE_CONSOLE &&
            chr->targetType == VIR_DOMAIN_CHR_CONSOLE_TARGET_TYPE_NONE && def->os.type != VIR_DOMAIN_OSTYPE_HVM)
            chr->targetType = VIR_DOMAIN_CHR_CONSOLE_TARGET_TYPE_XEN;
        return {};
    }
    case VIR_DOMAIN_DEVICE_HOSTDEV: return completeHostDevice(device->data.hostdev);
    case VIR_DOMAIN_DEVICE_NET:
        if (device->data.net->type == VIR_DOMAIN_NET_TYPE_HOSTDEV)
            return completeHostDevice(&device->data.net->data.hostdev.def);
        return {};
    case VIR_DOMAIN_DEVICE_VIDEO: completeVideo(device->data.video, def); return {};
    case VIR_DOMAIN_DEVICE_DISK: {
        virDomainDiskDef *disk = device->data.disk;
        if (virStorageSourceGetActualType(disk->src) == VIR_STORAGE_TYPE_NETWORK && !virDomainDiskGetDriver(disk))
            virDomainDiskSetDriver(disk, "qemu");
        if (virDomainDiskGetFormat(disk) == VIR_STORAGE_FILE_NONE)
            virDomainDiskSetFormat(disk, VIR_STORAGE_FILE_RAW);
        return {};
    }
    default: return {};
    }
}

// ---- refusals ----------------------------------------------------------------------------

static bool wantsSecureBoot(const virDomainDef *def)
{
    if (def->os.firmware == VIR_DOMAIN_OS_DEF_FIRMWARE_EFI && def->os.firmwareFeatures &&
        def->os.firmwareFeatures[VIR_DOMAIN_OS_DEF_FIRMWARE_FEATURE_SECURE_BOOT])
        return true;
    return virDomainDefHasOldStyleUEFI(def) && def->os.loader->secure == VIR_TRISTATE_BOOL_YES;
}

Result<void> checkSupport(const virDomainDef *def, virCaps *capabilities)
{
    // That raises an error of libvirt's own.
    if (capabilities &&
        !virCapabilitiesDomainSupported(capabilities, def->os.type, def->os.arch, def->virtType))
        return conf::takeLibvirtError();
    if (wantsSecureBoot(def))
        return unsupported(tr("secure boot"));
    if (def->memballoon && def->memballoon->model != VIR_DOMAIN_MEMBALLOON_MODEL_XEN) {
        if (def->memballoon->model == VIR_DOMAIN_MEMBALLOON_MODEL_NONE)
            return unsupported(tr("guests without a memory balloon"));
        return unsupported(strprintf(tr("memory balloons of model '%s'"),
                                     virDomainMemballoonModelTypeToString(def->memballoon->model)));
    }
    if (def->nsounds > 0) {
        switch (def->sounds[0]->model) {
        case VIR_DOMAIN_SOUND_MODEL_ICH6:
        case VIR_DOMAIN_SOUND_MODEL_ES1370:
        case VIR_DOMAIN_SOUND_MODEL_AC97:
        case VIR_DOMAIN_SOUND_MODEL_SB16: break;
        default:
            return unsupported(strprintf(tr("sound devices of model '%s'"),
                                         virDomainSoundModelTypeToString(def->sounds[0]->model)));
        }
    }
    return {};
}

// ---- aliases -----------------------------------------------------------------------------

static void name(virDomainDeviceInfo &info, const std::string &alias)
{
    if (info.alias && virDomainDeviceAliasIsUserAlias(info.alias))
        return;
    g_free(info.alias);
    info.alias = g_strdup(alias.c_str());
}

void assignAliases(virDomainDef *def)
{
    // A disk's is its name inside the guest, by which its figures are found.
    for (size_t i = 0; i < def->ndisks; i++)
        name(def->disks[i]->info, strprintf("disk-%s", def->disks[i]->dst));
    const auto number = [](auto **devices, size_t count, const char *prefix) {
        for (size_t i = 0; i < count; i++)
            name(devices[i]->info, strprintf("%s%zu", prefix, i));
    };
    number(def->nets, def->nnets, "net");
    number(def->serials, def->nserials, "serial");
    number(def->consoles, def->nconsoles, "console");
    number(def->channels, def->nchannels, "channel");
}

} // namespace godwit::hypervisor::xen
