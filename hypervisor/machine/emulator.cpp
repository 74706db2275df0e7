// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/machine/emulator.h"

#include "base/i18n.h"
#include "conf/handle.h"
#include "conf/libvirt_error.h"
#include "hypervisor/machine/json.h"
#include "hypervisor/machine/machine_type.h"

#include <algorithm>
#include <sstream>

namespace godwit::hypervisor::machine {

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::systemError;
using base::tr;

using Command = std::unique_ptr<virCommand, conf::FreeWith<virCommandFree>>;

std::string findEmulator()
{
    conf::Text path(virFindFileInPath("qemu-system-x86_64"));
    return path ? path.get() : "";
}

static void takeVersion(Emulator &emulator, const Json &version)
{
    const auto part = [&](const char *name) { return static_cast<unsigned long>(version[name].integer().value_or(0)); };
    emulator.version = part("major") * 1000000 + part("minor") * 1000 + part("micro");
}

static void takeMachines(Emulator &emulator, const Json &machines)
{
    for (const Json &machine : machines.elements()) {
        const std::string name = machine["name"].string().value_or("");
        if (!isPcMachine(name) && !isQ35Machine(name))
            continue;
        emulator.machines.push_back(name);
        const std::string alias = machine["alias"].string().value_or("");
        if (alias == "pc")
            emulator.pc = name;
        else if (alias == "q35")
            emulator.q35 = name;
    }
    std::sort(emulator.machines.begin(), emulator.machines.end(), std::greater<>());
    emulator.machines.insert(emulator.machines.begin(), {"pc", "q35"});
}

static void takeCpuModels(Emulator &emulator, const Json &models)
{
    for (const Json &model : models.elements())
        emulator.cpuModels.push_back(
            {model["name"].string().value_or(""), model["unavailable-features"].elements().empty()});
}

Result<Emulator> probeEmulator(const std::string &binary)
{
    if (binary.empty())
        return makeError(ErrorCode::OperationFailed, "%s", tr("no emulator: qemu-system-x86_64 is not on PATH"));
    if (!virFileIsExecutable(binary.c_str()))
        return systemError(errno, tr("cannot run emulator '%s'"), binary.c_str());
    Command command(virCommandNewArgList(binary.c_str(), "-S", "-no-user-config", "-nodefaults", "-display", "none",
                                         "-machine", "none,accel=tcg", "-qmp", "stdio", nullptr));
    virCommandAddEnvPassCommon(command.get());
    virCommandSetInputBuffer(command.get(), "{\"execute\":\"qmp_capabilities\"}\n"
                                            "{\"execute\":\"query-machines\",\"id\":\"machines\"}\n"
                                            "{\"execute\":\"query-cpu-definitions\",\"id\":\"cpus\"}\n"
                                            "{\"execute\":\"quit\"}\n");
    char *out = nullptr;
    char *err = nullptr;
    virCommandSetOutputBuffer(command.get(), &out);
    virCommandSetErrorBuffer(command.get(), &err);
    const int ran = virCommandRun(command.get(), nullptr);
    conf::Text output(out), errors(err);
    if (ran < 0)
        return conf::takeLibvirtError();

    Emulator emulator;
    emulator.binary = binary;
    std::istringstream lines(output ? output.get() : "");
    for (std::string line; std::getline(lines, line);) {
        const auto message = Json::parse(line);
        if (!message)
            continue;
        if (const Json version = (*message)["QMP.version.qemu"])
            takeVersion(emulator, version);
        if ((*message)["id"].string().value_or("") == "machines")
            takeMachines(emulator, (*message)["return"]);
        else if ((*message)["id"].string().value_or("") == "cpus")
            takeCpuModels(emulator, (*message)["return"]);
    }
    if (emulator.version == 0 || emulator.pc.empty())
        return makeError(ErrorCode::OperationFailed, tr("'%s' is no emulator that can be used: %s"), binary.c_str(),
                         errors ? errors.get() : "");
    return emulator;
}

} // namespace godwit::hypervisor::machine
