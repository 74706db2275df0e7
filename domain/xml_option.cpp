// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/xml_option.h"

#include "domain/host.h"
#include "domain/job.h"
#include "domain/private_data.h"

namespace godwit::domain {

static hypervisor::Hypervisor &hypervisorOf(void *opaque)
{
    return static_cast<Host *>(opaque)->hypervisor();
}

/// Result<void> → libvirt's convention.
static int toInt(const base::Result<void> &result)
{
    if (result)
        return 0;
    conf::raise(result.error());
    return -1;
}

static int completeDomain(virDomainDef *def, unsigned, void *opaque, void *)
{
    return toInt(hypervisorOf(opaque).complete(def));
}

static int completeDevice(virDomainDeviceDef *device, const virDomainDef *def, unsigned, void *opaque, void *)
{
    return toInt(hypervisorOf(opaque).completeDevice(device, def));
}

static int assignAddresses(virDomainDef *def, unsigned, void *opaque, void *)
{
    return toInt(hypervisorOf(opaque).assignAddresses(def));
}

static int validateDomain(const virDomainDef *def, void *opaque, void *)
{
    return toInt(hypervisorOf(opaque).checkSupport(def));
}

conf::ObjectRef<virDomainXMLOption> makeXmlOption(Host &host)
{
    // libvirt copies the three structures.
    virDomainDefParserConfig config{};
    config.domainPostParseCallback = completeDomain;
    config.devicesPostParseCallback = completeDevice;
    config.assignAddressesCallback = assignAddresses;
    config.domainValidateCallback = validateDomain;
    config.priv = &host;
    hypervisor::DefinitionTraits traits = host.hypervisor().definitionTraits();
    config.features = traits.features;
    memcpy(config.macPrefix, traits.macPrefix, sizeof config.macPrefix);
    config.defArch = virArchFromHost();
    config.netPrefix = traits.netPrefix;

    virDomainXMLPrivateDataCallbacks data = privateDataCallbacks();
    virDomainJobObjConfig jobs = jobConfig();
    auto option = conf::ObjectRef<virDomainXMLOption>::adopt(
        virDomainXMLOptionNew(&config, &data, &traits.xmlNamespace, nullptr, nullptr, &jobs));
    virDomainXMLOptionSetCloseCallbackAlloc(option.get(), virCloseCallbacksDomainAlloc);
    return option;
}

} // namespace godwit::domain
