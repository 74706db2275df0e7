// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "hypervisor/hypervisor.h"

namespace godwit::hypervisor {

/// What the xen hypervisor needs to know.
struct XenSettings {
    std::string helper;                  ///< path of godwit-helper, for our data channel
    std::string converter;               ///< path of godwit-stream, which reads legacy streams
    std::string dumpDir;                 ///< core dumps of guests that crash
    std::string channelDir;              ///< sockets of channels
    std::optional<bool> autoballoon;     ///< shrink dom0 for guests; not said: unless it is fixed
    bool nestedHvm = false;
};

/// The hypervisor that libxl drives: one per process. A build without libxl says so.
base::Result<std::unique_ptr<Hypervisor>> makeXen(XenSettings settings);

} // namespace godwit::hypervisor
