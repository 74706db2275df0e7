// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// What the machine hypervisor does to a domain definition before a guest is made of it:
// defaults, addresses, aliases, and the refusal of what it does not do.

#include "base/result.h"
#include "conf/libvirt.h"

#include <initializer_list>
#include <string>

namespace godwit::hypervisor::machine {

/// What completing a definition needs to know of the emulator.
struct EmulatorDefaults {
    std::string binary;
    std::string pc;    ///< the versioned names that "pc" and "q35" stand for
    std::string q35;
};

base::Result<void> completeDefinition(virDomainDef *def, const EmulatorDefaults &emulator);
base::Result<void> completeDevice(virDomainDeviceDef *device, const virDomainDef *def);

/// PCI and virtio-serial addresses, the same for the same definition whoever assigns them
/// (both ends of a migration must agree, and a device must stay where it was).
base::Result<void> assignAddresses(virDomainDef *def);
base::Result<void> assignAliases(virDomainDef *def);

base::Result<void> checkSupport(const virDomainDef *def);

// The parts of checkSupport.
base::Error unsupported(const std::string &what);
/// Something that a definition may ask for, and whether it does.
struct Refusal {
    bool asked;
    const char *what;
};
/// Refuse the first of `refusals` that is asked for, as "DEVICE with …" if it is one's.
base::Result<void> refuse(const char *device, std::initializer_list<Refusal> refusals);
base::Result<void> checkDevices(const virDomainDef *def);

} // namespace godwit::hypervisor::machine
