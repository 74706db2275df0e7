// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

namespace godwit::hypervisor {

/// Whether `device` (/dev/kvm) really runs guest code: some machines have the node and
/// cannot, or take a trip through the host for every instruction. A child process lets a
/// vCPU run a loop, and gives up after a fraction of a second of processor time.
bool kvmRunsGuests(const char *device = "/dev/kvm");

} // namespace godwit::hypervisor
