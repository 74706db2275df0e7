// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/hypervisor/xen/definition.h"

#include "conf/libvirt_error.h"
#include "hypervisor/xen/capabilities.h"
#include "hypervisor/xen/definition.h"

#include <fstream>
#include <sstream>

namespace godwit::hypervisor::xen {

static int toInt(const base::Result<void> &result)
{
    if (result)
        return 0;
    conf::raise(result.error());
    return -1;
}

conf::ObjectRef<virCaps> testCapabilities()
{
    auto caps = conf::ObjectRef<virCaps>::adopt(virCapabilitiesNew(VIR_ARCH_X86_64, false, false));
    virCPUDef *cpu = virCPUDefNew();
    cpu->type = VIR_CPU_TYPE_HOST;
    cpu->arch = VIR_ARCH_X86_64;
    cpu->model = g_strdup("Broadwell");
    cpu->sockets = cpu->cores = cpu->threads = cpu->dies = 1;
    virCPUDefAddFeature(cpu, "vmx", -1);
    caps->host.cpu = cpu;
    for (int type : {VIR_DOMAIN_OSTYPE_HVM, VIR_DOMAIN_OSTYPE_XEN, VIR_DOMAIN_OSTYPE_XENPVH}) {
        const char *machine = machineOf(type);
        virCapsGuest *guest = virCapabilitiesAddGuest(caps.get(), static_cast<virDomainOSType>(type), VIR_ARCH_X86_64,
                                                      "/usr/lib/xen/bin/qemu-system-i386",
                                                      type == VIR_DOMAIN_OSTYPE_HVM ? "/usr/lib/xen/boot/hvmloader" : nullptr, 1,
                                                      virCapabilitiesAllocMachines(&machine, 1));
        virCapabilitiesAddGuestDomain(guest, VIR_DOMAIN_VIRT_XEN, nullptr, nullptr, 0, nullptr);
    }
    return caps;
}

conf::ObjectRef<virDomainXMLOption> testXmlOption()
{
    virDomainDefParserConfig config{};
    config.domainPostParseCallback = [](virDomainDef *def, unsigned, void *, void *) {
        return toInt(completeDefinition(def));
    };
    config.devicesPostParseCallback = [](virDomainDeviceDef *device, const virDomainDef *def, unsigned, void *,
                                         void *) { return toInt(completeDevice(device, def)); };
    config.domainValidateCallback = [](const virDomainDef *def, void *, void *) {
        auto caps = testCapabilities();
        return toInt(checkSupport(def, caps.get()));
    };
    config.features =
        VIR_DOMAIN_DEF_FEATURE_USER_ALIAS | VIR_DOMAIN_DEF_FEATURE_FW_AUTOSELECT | VIR_DOMAIN_DEF_FEATURE_NET_MODEL_STRING;
    config.defArch = VIR_ARCH_X86_64;
    config.netPrefix = "vif";
    virXMLNamespace names = xenNamespace();
    return conf::ObjectRef<virDomainXMLOption>::adopt(
        virDomainXMLOptionNew(&config, nullptr, &names, nullptr, nullptr, nullptr));
}

std::string readText(const std::string &path)
{
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
}

conf::DomainDef parseFile(const std::string &path)
{
    auto option = testXmlOption();
    return conf::DomainDef(virDomainDefParseFile(path.c_str(), option.get(), nullptr, VIR_DOMAIN_DEF_PARSE_INACTIVE));
}

} // namespace godwit::hypervisor::xen
