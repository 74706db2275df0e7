// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "conf/libvirt.h"

#include <string_view>

namespace godwit::hypervisor::machine {

inline bool isPcMachine(std::string_view name)
{
    return name == "pc" || name.starts_with("pc-i440fx-");
}

inline bool isQ35Machine(std::string_view name)
{
    return name == "q35" || name.starts_with("pc-q35-");
}

inline bool isQ35(const virDomainDef *def)
{
    return def->os.machine && isQ35Machine(def->os.machine);
}

} // namespace godwit::hypervisor::machine
