// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// What the xen hypervisor does to a domain definition before a guest is made of it:
// defaults, aliases, and the refusal of what it does not do. As libvirt's own driver.

#include "base/result.h"
#include "conf/libvirt.h"
#include "hypervisor/xen/libxl.h"

#include <string>
#include <vector>

namespace godwit::hypervisor::xen {

base::Result<void> completeDefinition(virDomainDef *def);
base::Result<void> completeDevice(virDomainDeviceDef *device, const virDomainDef *def);
base::Result<void> checkSupport(const virDomainDef *def, virCaps *capabilities);
void assignAliases(virDomainDef *def);

/// Which device model an HVM guest's emulator is.
libxl_device_model_version deviceModelOf(const virDomainDef *def);

/// Xen's name of a CPU feature that libvirt calls `name`, and the way back.
const char *xenCpuFeature(const char *name);
const char *libvirtCpuFeature(const char *name);

/// <xen:commandline>: further arguments for the device model. A definition's namespaceData, laid out
/// as libvirt's libxlDomainXmlNsDef, which its reader of xl's files (native.h) leaves there.
struct XenCommandLine {
    size_t count = 0;
    char **arguments = nullptr;
};
virXMLNamespace xenNamespace();

} // namespace godwit::hypervisor::xen
