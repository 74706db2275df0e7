// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/error.h"

namespace godwit::hypervisor {

/// Whether this machine is a Xen host's control domain (dom0).
bool isXenHost();

/// Why xen:///system is not to be had here, for a person.
base::Error xenUnavailable();

} // namespace godwit::hypervisor
