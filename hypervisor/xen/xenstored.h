// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.h"

namespace godwit::hypervisor::xen {

/// Refuse what has to write into xenstore where its daemon has died: such a write falls back to
/// the kernel's connection, and waits there for ever. A daemon that is slow, or runs in a domain
/// of its own (no socket here), passes.
base::Result<void> requireXenstored();

} // namespace godwit::hypervisor::xen
