// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.h"
#include "conf/handle.h"
#include "hypervisor/machine/command_line.h"

#include <string>

namespace godwit::hypervisor::machine {

/// Parse a domain as the driver does: libvirt's parser with the machine hypervisor's hooks.
base::Result<conf::DomainDef> parseDomain(const std::string &xml, unsigned flags = 0);
/// What `virsh dumpxml` shows.
std::string formatDomain(virDomainDef *def);

/// Inputs that are the same in each test. NICs that need one get tap fds from 30 on,
/// screens get ports from 5900 on.
CommandLineInputs sampleInputs(const virDomainDef *def);

/// Parse, give aliases, build: an argument list with its options one a line.
base::Result<std::string> commandLineOf(const std::string &xml);
std::string formatCommandLine(const CommandLine &line);

/// A minimal domain of this type and machine with `devices` inside <devices> and `top` beside it.
struct Sample {
    const char *devices = "";
    const char *top = "";
    const char *os = "";
    const char *machine = "pc";
    const char *type = "qemu";
    const char *vcpu = "<vcpu>2</vcpu>";
};
std::string sampleDomain(const Sample &sample);

std::string readText(const std::string &path);

} // namespace godwit::hypervisor::machine
