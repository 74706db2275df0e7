// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/hypervisor/definition.h"

#include "conf/libvirt_error.h"
#include "conf/qemu_namespace.h"
#include "hypervisor/machine/definition.h"

#include <fstream>
#include <sstream>

namespace godwit::hypervisor::machine {

using base::Result;

static int toInt(const Result<void> &result)
{
    if (result)
        return 0;
    conf::raise(result.error());
    return -1;
}

static conf::ObjectRef<virDomainXMLOption> makeXmlOption()
{
    virDomainDefParserConfig config{};
    config.domainPostParseCallback = [](virDomainDef *def, unsigned, void *, void *) {
        return toInt(completeDefinition(def, {"/usr/bin/qemu-system-x86_64", "pc-i440fx-7.2", "pc-q35-7.2"}));
    };
    config.devicesPostParseCallback = [](virDomainDeviceDef *device, const virDomainDef *def, unsigned, void *,
                                         void *) { return toInt(completeDevice(device, def)); };
    config.assignAddressesCallback = [](virDomainDef *def, unsigned, void *, void *) {
        return toInt(assignAddresses(def));
    };
    config.domainValidateCallback = [](const virDomainDef *def, void *, void *) { return toInt(checkSupport(def)); };
    config.features = VIR_DOMAIN_DEF_FEATURE_OFFLINE_VCPUPIN | VIR_DOMAIN_DEF_FEATURE_INDIVIDUAL_VCPUS |
                      VIR_DOMAIN_DEF_FEATURE_USER_ALIAS;
    config.defArch = VIR_ARCH_X86_64;
    config.netPrefix = VIR_NET_GENERATED_VNET_PREFIX;
    virXMLNamespace qemu = conf::qemuNamespace();
    return conf::ObjectRef<virDomainXMLOption>::adopt(
        virDomainXMLOptionNew(&config, nullptr, &qemu, nullptr, nullptr, nullptr));
}

static virDomainXMLOption *xmlOption()
{
    static const auto option = makeXmlOption();
    return option.get();
}

Result<conf::DomainDef> parseDomain(const std::string &xml, unsigned flags)
{
    return conf::DomainDef(TRY(conf::check(virDomainDefParseString(xml.c_str(), xmlOption(), nullptr, flags))));
}

std::string formatDomain(virDomainDef *def)
{
    const conf::Text text(virDomainDefFormat(def, xmlOption(), VIR_DOMAIN_DEF_FORMAT_SECURE));
    return text ? text.get() : "";
}

CommandLineInputs sampleInputs(const virDomainDef *def)
{
    CommandLineInputs inputs;
    inputs.emulator = def->emulator;
    inputs.runDir = "/run/guest";
    inputs.ramFd = 20;
    inputs.monitorFd = 21;
    inputs.now = 1000000000;
    for (size_t i = 0; i < def->nnets; i++)
        inputs.tapFds.push_back(def->nets[i]->type == VIR_DOMAIN_NET_TYPE_USER ? -1 : 30 + static_cast<int>(i));
    for (size_t i = 0; i < def->ngraphics; i++)
        inputs.vncPorts.push_back(5900 + static_cast<int>(i));
    return inputs;
}

std::string formatCommandLine(const CommandLine &line)
{
    std::string out;
    for (const auto &[name, value] : line.environment)
        out += name + "=" + value + "\n";
    for (const std::string &argument : line.arguments) {
        if (!out.empty() && out.back() != '\n')
            out += argument.starts_with('-') ? '\n' : ' ';
        out += argument;
    }
    return out + "\n";
}

Result<std::string> commandLineOf(const std::string &xml)
{
    conf::DomainDef def = TRY(parseDomain(xml));
    TRY(assignAliases(def.get()));
    return formatCommandLine(TRY(buildCommandLine(def.get(), sampleInputs(def.get()))));
}

std::string sampleDomain(const Sample &sample)
{
    std::string xml = "<domain type='";
    xml.append(sample.type).append("'><name>sample</name><uuid>6f3a0c1e-52d1-4b8e-9d1a-000000000001</uuid>");
    xml.append("<memory unit='MiB'>64</memory>").append(sample.vcpu);
    xml.append("<os><type arch='x86_64' machine='").append(sample.machine);
    xml.append("'>hvm</type>").append(sample.os).append("</os>").append(sample.top);
    xml.append("<devices>").append(sample.devices).append("</devices></domain>");
    return xml;
}

std::string readText(const std::string &path)
{
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
}

} // namespace godwit::hypervisor::machine
