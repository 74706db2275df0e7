// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// Certificates and keys of migrations, looked at before anything is begun. (The helper is who
// uses them.) May block: call with no domain locked.

#include "conf/settings.h"
#include "hypervisor/hypervisor.h"

namespace godwit::migration {

/// What is missing, unreadable, expired or of another authority is an error that names it.
base::Result<void> checkSourceTls(const conf::Settings &settings);
base::Result<void> checkDestinationTls(const conf::Settings &settings);

/// Whether migrations may go in the clear.
base::Result<void> checkTlsForce(const conf::Settings &settings, unsigned flags);

} // namespace godwit::migration
