// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "conf/libvirt.h"
#include "conf/typed_params.h"

namespace godwit::domain {

/// Milliseconds until the memory that remains is sent, at the present rate; 0 = unknown.
unsigned long long timeRemaining(const virDomainJobData *data);

/// A job's figures as virDomainGetJobStats() and the event of its end give them
/// (VIR_DOMAIN_JOB_*). Of one that runs `downtime` is what to expect; of one that has ended
/// it was measured. `memory_dirty_tracker`, ours, says how changed pages were found, and
/// `memory_connections` how many connections carry the memory of a migration, and `memory_restore`
/// whether a restored guest ran before ("on-demand") or after its memory was read ("full").
conf::TypedParams jobStats(const virDomainJobData *data, bool completed);

} // namespace godwit::domain
