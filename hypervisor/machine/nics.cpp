// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/machine/nics.h"

#include "base/i18n.h"
#include "conf/handle.h"
#include "conf/libvirt_error.h"

namespace godwit::hypervisor::machine {

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::tr;

static Result<Tap> openTap(const virDomainDef *def, const virDomainNetDef *net, const char *bridge)
{
    conf::Text name(g_strdup(net->ifname));
    char *ifname = name.release();
    int fd = -1;
    unsigned flags = VIR_NETDEV_TAP_CREATE_IFUP;
    if (net->model == VIR_DOMAIN_NET_MODEL_VIRTIO)
        flags |= VIR_NETDEV_TAP_CREATE_VNET_HDR;
    int made = 0;
    if (bridge) {
        made = virNetDevTapCreateInBridgePort(bridge, &ifname, &net->mac, def->uuid, "/dev/net/tun", &fd, 1,
                                              virDomainNetGetActualVirtPortProfile(net), virDomainNetGetActualVlan(net),
                                              virDomainNetGetActualPortOptionsIsolated(net), nullptr, 0, nullptr, flags);
    } else {
        made = virNetDevTapCreate(&ifname, "/dev/net/tun", &fd, 1, flags);
        // The host's end must not have the guest's own address.
        virMacAddr mac = net->mac;
        mac.addr[0] = 0xfe;
        if (made == 0)
            made = virNetDevSetMAC(ifname, &mac);
        if (made == 0)
            made = virNetDevSetOnline(ifname, true);
    }
    name.reset(ifname);
    base::UniqueFd owner(fd);
    if (made < 0)
        return conf::takeLibvirtError();
    return Tap{std::move(owner), name ? name.get() : ""};
}

Result<std::vector<Tap>> openTaps(const virDomainDef *def, bool privileged)
{
    std::vector<Tap> taps;
    for (size_t i = 0; i < def->nnets; i++) {
        const virDomainNetDef *net = def->nets[i];
        const auto type = virDomainNetGetActualType(net);
        if (type == VIR_DOMAIN_NET_TYPE_USER) {
            taps.emplace_back();
            continue;
        }
        if (!privileged)
            return makeError(ErrorCode::OperationFailed, tr("interface type '%s' needs a privileged daemon; 'user' does not"),
                             virDomainNetTypeToString(type));
        const bool bridged = type == VIR_DOMAIN_NET_TYPE_BRIDGE || type == VIR_DOMAIN_NET_TYPE_NETWORK;
        if (bridged && !virDomainNetGetActualBridgeName(net))
            return makeError(ErrorCode::OperationFailed, "%s", tr("the network of an interface names no bridge"));
        taps.push_back(TRY(openTap(def, net, bridged ? virDomainNetGetActualBridgeName(net) : nullptr)));
    }
    return taps;
}

} // namespace godwit::hypervisor::machine
