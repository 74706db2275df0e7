// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.h"
#include "base/unique_fd.h"
#include "conf/libvirt.h"

#include <string>
#include <vector>

namespace godwit::hypervisor::machine {

/// The host's end of one NIC. Both are empty for a user-mode one. The device vanishes with
/// the last descriptor of it.
struct Tap {
    base::UniqueFd fd;
    std::string name;
};

/// Open what the definition's NICs need, one entry for each.
base::Result<std::vector<Tap>> openTaps(const virDomainDef *def, bool privileged);

} // namespace godwit::hypervisor::machine
