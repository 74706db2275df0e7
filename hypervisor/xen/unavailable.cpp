// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/xen/xen.h"
#include "hypervisor/xen/xen_host.h"

namespace godwit::hypervisor {

// In builds without libxl.
base::Result<std::unique_ptr<Hypervisor>> makeXen(XenSettings)
{
    return xenUnavailable();
}

} // namespace godwit::hypervisor
