// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/xen/xen_host.h"

#include "base/i18n.h"

#include <fstream>
#include <string>

namespace godwit::hypervisor {

using base::ErrorCode;
using base::makeError;
using base::tr;

bool isXenHost()
{
    std::string capabilities;
    std::getline(std::ifstream("/proc/xen/capabilities"), capabilities);
    return capabilities.starts_with("control_d");
}

base::Error xenUnavailable()
{
    if (!isXenHost())
        return makeError(ErrorCode::OperationFailed, "%s",
                         tr("this machine is no Xen host (no control domain): xen:///system is not available; "
                            "godwit:///system runs guests without Xen"));
    return makeError(ErrorCode::NoSupport, "%s", tr("this build of Godwit has no support for the xen hypervisor"));
}

} // namespace godwit::hypervisor
