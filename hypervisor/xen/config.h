// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// A domain definition as libxl's configuration: what libvirt's own driver for Xen makes of
// the same definition (its golden pairs are among our tests). The definition is read only.

#include "base/result.h"
#include "conf/handle.h"
#include "hypervisor/xen/libxl.h"

#include <string>
#include <vector>

namespace godwit::hypervisor::xen {

struct ConfigContext {
    libxl_ctx *ctx = nullptr;
    const virCaps *capabilities = nullptr;    ///< for what CPU features there are; may be null
    bool nestedHvm = false;                   ///< guests may run guests, where the host can
    std::string channelDir;                   ///< where channels without a path have their sockets
    /// Ports of graphics devices by index, for those whose port is chosen by us; 0: as defined.
    std::vector<int> graphicsPorts;
};

base::Result<void> buildConfig(const ConfigContext &context, const virDomainDef *def, libxl_domain_config *out);

// Its parts, also for devices that are plugged in later.
base::Result<void> buildInfo(const ConfigContext &context, const virDomainDef *def, libxl_domain_config *out);
base::Result<void> buildDisk(const virDomainDiskDef *disk, libxl_device_disk *out);
base::Result<void> buildNic(const virDomainDef *def, const virDomainNetDef *net, bool plugged, libxl_device_nic *out);
base::Result<void> buildGraphics(const ConfigContext &context, const virDomainDef *def, libxl_domain_config *out);
base::Result<void> buildHostDevices(const virDomainDef *def, libxl_domain_config *out);
base::Result<void> buildPci(const virDomainHostdevDef *device, libxl_device_pci *out);
base::Result<void> buildUsb(const virDomainHostdevDef *device, libxl_device_usbdev *out);
/// The controller that a guest gets for its USB devices: of Xen's own kind, with eight ports.
void defaultUsbController(libxl_device_usbctrl *out);
base::Result<void> buildUsbController(const virDomainControllerDef *controller, libxl_device_usbctrl *out);
base::Result<void> buildChannels(const ConfigContext &context, const virDomainDef *def, libxl_domain_config *out);
/// The path of a channel's socket.
std::string channelPath(const ConfigContext &context, const virDomainDef *def, const virDomainChrDef *channel);

/// Something that a definition asks for and Xen, or libxl, does not do.
base::Error unsupported(const std::string &what);

/// `text` as libxl frees it; null stays null.
inline char *copy(const char *text)
{
    return text ? strdup(text) : nullptr;
}
/// A zeroed array as libxl frees it.
template <typename T>
T *array(size_t count)
{
    return static_cast<T *>(std::calloc(count ? count : 1, sizeof(T)));
}

/// Memory in KiB as Xen takes it: whole MiB.
inline unsigned long long wholeMib(unsigned long long kib)
{
    return VIR_ROUND_UP(kib, 1024);
}

/// The first VNC display's port.
inline constexpr int firstVncPort = 5900;

} // namespace godwit::hypervisor::xen
