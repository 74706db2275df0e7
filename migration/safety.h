// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.h"
#include "conf/libvirt.h"

#include <string>

namespace godwit::migration {

/// Refuse to migrate a guest whose disks the destination may not see, or may see as they were
/// before: those on a file system of this host alone, and (unless the emulator on the
/// destination drops what its host has cached, `dropsDiskCaches`) those that go through this
/// host's page cache. The rules are those of libvirt's QEMU driver. VIR_MIGRATE_UNSAFE
/// overrides them: its user knows better.
base::Result<void> checkDisks(const virDomainDef *def, bool dropsDiskCaches);

/// A device of this host's does not come along, and what it does meanwhile nobody sees.
base::Result<void> checkHostDevices(const virDomainDef *def);

/// What --graphicsuri asks for. Clients of a VNC display have no way to be told where it went,
/// so such a URI is checked and then passed over, as by libvirt's QEMU driver.
base::Result<void> checkGraphicsUri(const virDomainDef *def, const std::string &uri);

} // namespace godwit::migration
