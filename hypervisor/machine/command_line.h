// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.h"
#include "conf/libvirt.h"
#include "hypervisor/machine/options.h"

#include <ctime>
#include <string>
#include <utility>
#include <vector>

namespace godwit::hypervisor::machine {

/// What a command line needs beside the definition. Fds are numbers in our process: QEMU
/// inherits them under the same numbers.
struct CommandLineInputs {
    std::string emulator;
    std::string runDir;
    std::string launcher;            ///< godwit-launch: preloads the agent
    std::string agent;               ///< preloaded into QEMU; empty: none
    std::string ramId;               ///< DEVICE:INODE of the RAM file, for the agent
    int ramFd = -1;
    int demandFd = -1;               ///< the agent's socket, for memory on demand; -1: none
    int monitorFd = -1;              ///< a listening socket
    std::vector<int> tapFds;         ///< one for each NIC; -1: its backend needs none
    std::vector<int> vncPorts;       ///< one for each <graphics>; 0: it has none
    bool incoming = false;           ///< a stream will fill the guest
    time_t now = 0;                  ///< for a clock that is set relative to it
};

struct CommandLine {
    std::vector<std::string> launch;      ///< what goes before the program, with its arguments; or nothing
    std::vector<std::string> arguments;   ///< with the program first
    std::vector<std::pair<std::string, std::string>> environment;
    std::vector<int> fds;                 ///< what QEMU inherits
};

/// QEMU's command line for a definition that is complete (defaults, addresses, aliases) and
/// supported. Reads nothing but its arguments.
base::Result<CommandLine> buildCommandLine(const virDomainDef *def, const CommandLineInputs &inputs);

/// The socket of a channel for which the definition names none.
std::string channelPath(const virDomainChrDef *channel, const std::string &runDir);
/// Whether a channel's path is absent, or was made by channelPath() on whichever host.
bool isOwnChannelPath(const char *path);

// ---- the parts, each appending its arguments ------------------------------------------

class ArgumentList
{
public:
    explicit ArgumentList(std::vector<std::string> &out) : out_(out) {}
    void flag(const char *name) { out_.emplace_back(name); }
    void option(const char *name, const std::string &value)
    {
        out_.emplace_back(name);
        out_.push_back(value);
    }

private:
    std::vector<std::string> &out_;
};

/// A PCI device's `bus=…,addr=…`.
void addPciAddress(Options &device, const virDomainDef *def, const virDomainDeviceInfo &info);
/// Where a device stands in the boot order, from 1; 0: not in it.
unsigned bootIndexOf(const virDomainDef *def, const virDomainDeviceInfo &info);

base::Result<std::string> cpuArgument(const virDomainDef *def);
void addControllers(ArgumentList &arguments, const virDomainDef *def);
base::Result<void> addDisks(ArgumentList &arguments, const virDomainDef *def);
void addNics(ArgumentList &arguments, const virDomainDef *def, const CommandLineInputs &inputs);
base::Result<void> addCharacterDevices(ArgumentList &arguments, const virDomainDef *def,
                                       const CommandLineInputs &inputs);
void addDisplay(ArgumentList &arguments, const virDomainDef *def, const CommandLineInputs &inputs);
void addOtherDevices(ArgumentList &arguments, const virDomainDef *def);

} // namespace godwit::hypervisor::machine
