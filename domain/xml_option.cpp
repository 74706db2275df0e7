// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/xml_option.h"

#include "conf/qemu_namespace.h"
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
    config.features = VIR_DOMAIN_DEF_FEATURE_OFFLINE_VCPUPIN | VIR_DOMAIN_DEF_FEATURE_INDIVIDUAL_VCPUS |
                      VIR_DOMAIN_DEF_FEATURE_USER_ALIAS;
    const unsigned char macPrefix[VIR_MAC_PREFIX_BUFLEN] = {0x52, 0x54, 0x00};
    memcpy(config.macPrefix, macPrefix, sizeof macPrefix);
    config.defArch = virArchFromHost();
    config.netPrefix = VIR_NET_GENERATED_VNET_PREFIX;

    virDomainXMLPrivateDataCallbacks data = privateDataCallbacks();
    virDomainJobObjConfig jobs = jobConfig();
    virXMLNamespace qemu = conf::qemuNamespace();
    auto option = conf::ObjectRef<virDomainXMLOption>::adopt(
        virDomainXMLOptionNew(&config, &data, &qemu, nullptr, nullptr, &jobs));
    virDomainXMLOptionSetCloseCallbackAlloc(option.get(), virCloseCallbacksDomainAlloc);
    return option;
}

} // namespace godwit::domain
