// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/xen/config.h"

#include "base/i18n.h"
#include "base/log.h"
#include "base/strprintf.h"
#include "conf/libvirt_error.h"

namespace godwit::hypervisor::xen {

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::strprintf;
using base::tr;

base::Error unsupported(const std::string &what)
{
    return makeError(ErrorCode::Unsupported, tr("Xen does not support %s"), what.c_str());
}

static libxl_action_on_shutdown toLibxl(int action)
{
    switch (action) {
    case VIR_DOMAIN_LIFECYCLE_ACTION_RESTART: return LIBXL_ACTION_ON_SHUTDOWN_RESTART;
    case VIR_DOMAIN_LIFECYCLE_ACTION_RESTART_RENAME: return LIBXL_ACTION_ON_SHUTDOWN_RESTART_RENAME;
    case VIR_DOMAIN_LIFECYCLE_ACTION_PRESERVE: return LIBXL_ACTION_ON_SHUTDOWN_PRESERVE;
    case VIR_DOMAIN_LIFECYCLE_ACTION_COREDUMP_DESTROY: return LIBXL_ACTION_ON_SHUTDOWN_COREDUMP_DESTROY;
    case VIR_DOMAIN_LIFECYCLE_ACTION_COREDUMP_RESTART: return LIBXL_ACTION_ON_SHUTDOWN_COREDUMP_RESTART;
    default: return LIBXL_ACTION_ON_SHUTDOWN_DESTROY;
    }
}

static libxl_passthrough passthrough(const virDomainDef *def)
{
    if (def->xen_features[VIR_DOMAIN_XEN_PASSTHROUGH] == VIR_TRISTATE_SWITCH_OFF)
        return LIBXL_PASSTHROUGH_DISABLED;
    switch (def->xen_passthrough_mode) {
    case VIR_DOMAIN_XEN_PASSTHROUGH_MODE_SYNC_PT: return LIBXL_PASSTHROUGH_SYNC_PT;
    case VIR_DOMAIN_XEN_PASSTHROUGH_MODE_SHARE_PT: return LIBXL_PASSTHROUGH_SHARE_PT;
    default: return LIBXL_PASSTHROUGH_ENABLED;
    }
}

static Result<void> createInfo(const ConfigContext &context, const virDomainDef *def, libxl_domain_create_info *info)
{
    info->type = def->os.type == VIR_DOMAIN_OSTYPE_HVM      ? LIBXL_DOMAIN_TYPE_HVM
                 : def->os.type == VIR_DOMAIN_OSTYPE_XENPVH ? LIBXL_DOMAIN_TYPE_PVH
                                                            : LIBXL_DOMAIN_TYPE_PV;
    if (info->type != LIBXL_DOMAIN_TYPE_PV && def->features[VIR_DOMAIN_FEATURE_HAP] != VIR_TRISTATE_SWITCH_ABSENT)
        libxl_defbool_set(&info->hap, def->features[VIR_DOMAIN_FEATURE_HAP] == VIR_TRISTATE_SWITCH_ON);
    if (def->features[VIR_DOMAIN_FEATURE_XEN] == VIR_TRISTATE_SWITCH_ON &&
        def->xen_features[VIR_DOMAIN_XEN_PASSTHROUGH] != VIR_TRISTATE_SWITCH_ABSENT)
        info->passthrough = passthrough(def);
    info->name = copy(def->name);
    if (def->nseclabels && def->seclabels[0]->type == VIR_DOMAIN_SECLABEL_STATIC) {
        char *label = def->seclabels[0]->label;
        if (libxl_flask_context_to_sid(context.ctx, label, strlen(label), &info->ssidref))
            return makeError(ErrorCode::OperationFailed, tr("Xen does not know security label '%s'"), label);
    }
    char uuid[VIR_UUID_STRING_BUFLEN];
    virUUIDFormat(def->uuid, uuid);
    if (libxl_uuid_from_string(&info->uuid, uuid))
        return makeError(ErrorCode::Internal, "libxl cannot read UUID '%s'", uuid);
    return {};
}

// ---- NUMA --------------------------------------------------------------------------------

static Result<void> vnumaNode(const ConfigContext &context, virDomainNuma *numa, size_t index, size_t count,
                              unsigned maxVcpus, libxl_vnode_info *node)
{
    libxl_vnode_info_init(node);
    node->memkb = virDomainNumaGetNodeMemorySize(numa, index);
    const virBitmap *vcpus = virDomainNumaGetNodeCpumask(numa, index);
    if (!vcpus)
        return makeError(ErrorCode::InvalidArgument, tr("NUMA cell %zu has no vCPUs"), index);
    if (libxl_cpu_bitmap_alloc(context.ctx, &node->vcpus, static_cast<int>(maxVcpus)))
        return makeError(ErrorCode::Internal, "libxl_cpu_bitmap_alloc");
    libxl_bitmap_set_none(&node->vcpus);
    for (ssize_t cpu = -1; (cpu = virBitmapNextSetBit(const_cast<virBitmap *>(vcpus), cpu)) >= 0;)
        libxl_bitmap_set(&node->vcpus, static_cast<int>(cpu));
    node->distances = array<uint32_t>(count);
    node->num_distances = static_cast<int>(count);
    for (size_t other = 0; other < count; other++)
        node->distances[other] = static_cast<uint32_t>(virDomainNumaGetNodeDistance(numa, index, other));
    return {};
}

static Result<void> vnuma(const ConfigContext &context, const virDomainDef *def, libxl_domain_config *out)
{
    const size_t count = def->numa ? virDomainNumaGetNodeCount(def->numa) : 0;
    if (count == 0)
        return {};
    PhysicalInfo host;
    if (libxl_get_physinfo(context.ctx, host.get()) != 0)
        return makeError(ErrorCode::OperationFailed, "%s", tr("Xen does not tell of the host's NUMA nodes"));
    const bool fewer = count > host->nr_nodes;
    if (fewer)
        log(base::LogLevel::Warning, "domain '%s' has %zu NUMA cells, the host %u nodes: all cells use node 0",
            def->name, count, host->nr_nodes);
    libxl_domain_build_info &info = out->b_info;
    info.vnuma_nodes = array<libxl_vnode_info>(count);
    info.num_vnuma_nodes = static_cast<int>(count);
    for (size_t i = 0; i < count; i++) {
        TRY(vnumaNode(context, def->numa, i, count, static_cast<unsigned>(info.max_vcpus), &info.vnuma_nodes[i]));
        info.vnuma_nodes[i].pnode = fewer ? 0 : static_cast<uint32_t>(i);
    }
    return {};
}

// ---- lists of devices --------------------------------------------------------------------

static Result<void> disks(const virDomainDef *def, libxl_domain_config *out)
{
    out->disks = array<libxl_device_disk>(def->ndisks);
    for (size_t i = 0; i < def->ndisks; i++) {
        libxl_device_disk_init(&out->disks[i]);
        out->num_disks++;
        TRY(buildDisk(def->disks[i], &out->disks[i]));
    }
    return {};
}

static Result<void> nics(const virDomainDef *def, libxl_domain_config *out)
{
    out->nics = array<libxl_device_nic>(def->nnets);
    for (size_t i = 0; i < def->nnets; i++) {
        // That is a host device, and among those.
        if (virDomainNetGetActualType(def->nets[i]) == VIR_DOMAIN_NET_TYPE_HOSTDEV)
            continue;
        libxl_device_nic *nic = &out->nics[out->num_nics];
        libxl_device_nic_init(nic);
        out->num_nics++;
        TRY(buildNic(def, def->nets[i], /* plugged= */ false, nic));
        // The device model needs to know it before libxl would choose it.
        if (nic->devid < 0)
            nic->devid = out->num_nics - 1;
    }
    return {};
}

std::string channelPath(const ConfigContext &context, const virDomainDef *def, const virDomainChrDef *channel)
{
    if (channel->source->data.nix.path)
        return channel->source->data.nix.path;
    return strprintf("%s/%s-%s", context.channelDir.c_str(), def->name,
                     channel->target.name ? channel->target.name : "unknown.sock");
}

Result<void> buildChannels(const ConfigContext &context, const virDomainDef *def, libxl_domain_config *out)
{
    out->channels = array<libxl_device_channel>(def->nchannels);
    for (size_t i = 0; i < def->nchannels; i++) {
        const virDomainChrDef *channel = def->channels[i];
        libxl_device_channel *made = &out->channels[out->num_channels];
        libxl_device_channel_init(made);
        out->num_channels++;
        if (channel->targetType != VIR_DOMAIN_CHR_CHANNEL_TARGET_TYPE_XEN)
            return unsupported(tr("channels of another target type than 'xen'"));
        if (!channel->target.name)
            return makeError(ErrorCode::InvalidArgument, "%s", tr("a channel of target type 'xen' needs a name"));
        switch (channel->source->type) {
        case VIR_DOMAIN_CHR_TYPE_PTY:
            libxl_device_channel_init_connection(made, LIBXL_CHANNEL_CONNECTION_PTY);
            break;
        case VIR_DOMAIN_CHR_TYPE_UNIX:
            libxl_device_channel_init_connection(made, LIBXL_CHANNEL_CONNECTION_SOCKET);
            made->u.socket.path = copy(channelPath(context, def, channel).c_str());
            break;
        default: return unsupported(tr("channels that are neither 'pty' nor 'unix'"));
        }
        made->name = copy(channel->target.name);
    }
    return {};
}

Result<void> buildConfig(const ConfigContext &context, const virDomainDef *def, libxl_domain_config *out)
{
    TRY(createInfo(context, def, &out->c_info));
    TRY(buildInfo(context, def, out));
    TRY(vnuma(context, def, out));
    TRY(disks(def, out));
    TRY(nics(def, out));
    TRY(buildGraphics(context, def, out));
    TRY(buildHostDevices(def, out));
    TRY(buildChannels(context, def, out));
    out->on_reboot = toLibxl(def->onReboot);
    out->on_poweroff = toLibxl(def->onPoweroff);
    out->on_crash = toLibxl(def->onCrash);
    return {};
}

} // namespace godwit::hypervisor::xen
