// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/driver/fake_test.h"

namespace godwit::tests {

using testing::HasSubstr;
using testing::Not;

class Device : public FakeHostsTest
{
};

static const char *const diskXml = "<disk type='file'><source file='/a.img'/><target dev='vda' bus='virtio'/></disk>";
static const char *const otherDiskXml = "<disk type='file'><source file='/b.img'/><target dev='vda' bus='virtio'/></disk>";
static const char *const nicXml = "<interface type='user'><mac address='52:54:00:00:00:07'/></interface>";
static const char *const otherNicXml = "<interface type='user'><mac address='52:54:00:00:00:07'/><model type='e1000'/></interface>";

TEST_F(Device, ComesChangesAndGoesInADefinition)
{
    Client client(root());
    auto domain = client.define(domainXml("web1"));
    for (const char *xml : {diskXml, nicXml})
        ASSERT_EQ(virDomainAttachDeviceFlags(domain.get(), xml, VIR_DOMAIN_AFFECT_CONFIG), 0) << lastError();
    EXPECT_THAT(xmlOf(domain), testing::AllOf(HasSubstr("/a.img"), HasSubstr("52:54:00:00:00:07")));
    EXPECT_EQ(virDomainAttachDeviceFlags(domain.get(), diskXml, VIR_DOMAIN_AFFECT_CONFIG), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_INVALID, "vda"));
    for (const char *xml : {otherDiskXml, otherNicXml})
        ASSERT_EQ(virDomainUpdateDeviceFlags(domain.get(), xml, VIR_DOMAIN_AFFECT_CONFIG), 0) << lastError();
    EXPECT_THAT(xmlOf(domain), testing::AllOf(HasSubstr("/b.img"), Not(HasSubstr("/a.img")), HasSubstr("e1000")));
    for (const char *xml : {diskXml, otherNicXml})
        ASSERT_EQ(virDomainDetachDeviceFlags(domain.get(), xml, VIR_DOMAIN_AFFECT_CONFIG), 0) << lastError();
    EXPECT_THAT(xmlOf(domain), testing::AllOf(Not(HasSubstr(".img")), Not(HasSubstr("52:54:00:00:00:07"))));
    EXPECT_EQ(virDomainDetachDeviceFlags(domain.get(), diskXml, VIR_DOMAIN_AFFECT_CONFIG), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_INVALID, "vda"));
}

TEST_F(Device, OfARunningDomainIsNotTouched)
{
    Client client(root());
    auto domain = client.define(domainXml("web1"));
    ASSERT_EQ(virDomainCreate(domain.get()), 0);
    EXPECT_EQ(virDomainAttachDevice(domain.get(), diskXml), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_CONFIG_UNSUPPORTED, "'disk' of a running domain"));
    EXPECT_EQ(virDomainDetachDevice(domain.get(), nicXml), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_CONFIG_UNSUPPORTED, "'interface' of a running domain"));
    EXPECT_EQ(virDomainUpdateDeviceFlags(domain.get(), diskXml, 0), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_CONFIG_UNSUPPORTED));
    ASSERT_EQ(virDomainAttachDeviceFlags(domain.get(), diskXml, VIR_DOMAIN_AFFECT_CONFIG), 0) << lastError();
    EXPECT_THAT(xmlOf(domain), Not(HasSubstr("/a.img")));
    EXPECT_THAT(xmlOf(domain, VIR_DOMAIN_XML_INACTIVE), HasSubstr("/a.img"));
}

TEST_F(Device, OfTheHostIsRefusedByNameWhereGuestsGetNone)
{
    Client client(root());
    const conf::ObjectRef<virNodeDevice> device = conf::ObjectRef<virNodeDevice>::adopt(
        virGetNodeDevice(client, "pci_0000_00_10_0"));
    EXPECT_EQ(virNodeDeviceDettach(device.get()), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_CONFIG_UNSUPPORTED, "host devices"));
    EXPECT_EQ(virNodeDeviceDetachFlags(device.get(), "xen", 0), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_CONFIG_UNSUPPORTED, "host devices"));
    EXPECT_EQ(virNodeDeviceReAttach(device.get()), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_CONFIG_UNSUPPORTED, "host devices"));
    EXPECT_EQ(virNodeDeviceReset(device.get()), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_CONFIG_UNSUPPORTED, "host devices"));
}

TEST_F(Device, OfAnotherTypeIsRefusedByName)
{
    Client client(root());
    auto domain = client.define(domainXml("web1"));
    EXPECT_EQ(virDomainAttachDeviceFlags(domain.get(), "<watchdog model='i6300esb'/>", VIR_DOMAIN_AFFECT_CONFIG), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_CONFIG_UNSUPPORTED, "watchdog"));
    EXPECT_EQ(virDomainAttachDeviceFlags(domain.get(), "<nonsense/>", VIR_DOMAIN_AFFECT_CONFIG), -1);
    EXPECT_EQ(virDomainAttachDeviceFlags(domain.get(), diskXml, 1u << 10), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_INVALID_ARG));
}

} // namespace godwit::tests
