// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/driver/client.h"

namespace godwit::tests {

using testing::HasSubstr;

class Definition : public HostsTest
{
};

static std::string configFile(const std::string &root, const std::string &name)
{
    return root + "/etc/godwit/" + name + ".xml";
}

TEST_F(Definition, IsKeptOnDiskUntilItIsUndefined)
{
    {
        Client client(root());
        ASSERT_TRUE(client) << lastError();
        ASSERT_TRUE(client.define(domainXml("web1"))) << lastError();
        EXPECT_TRUE(client.sees("web1:defined.0"));
    }
    Client client(root());
    EXPECT_EQ(client.names(), "web1");
    auto domain = client.lookup("web1");
    ASSERT_TRUE(domain);
    EXPECT_EQ(stateOf(domain), "shutoff.0");
    EXPECT_EQ(virDomainIsPersistent(domain.get()), 1);
    EXPECT_EQ(virDomainIsActive(domain.get()), 0);
    ASSERT_EQ(virDomainUndefine(domain.get()), 0) << lastError();
    EXPECT_TRUE(client.sees("web1:undefined.0"));
    EXPECT_EQ(client.names(), "");
    EXPECT_FALSE(exists(configFile(root(), "web1")));
    EXPECT_FALSE(client.lookup("web1"));
    EXPECT_TRUE(failedWith(VIR_ERR_NO_DOMAIN, "web1"));
}

TEST_F(Definition, IsFoundByNameAndUuidAndWhileRunningById)
{
    Client client(root());
    auto defined = client.define(domainXml("web1"));
    ASSERT_TRUE(defined);
    DomainHandle byUuid(virDomainLookupByUUIDString(client, uuidOf("web1").c_str()));
    ASSERT_TRUE(byUuid);
    EXPECT_STREQ(virDomainGetName(byUuid.get()), "web1");
    EXPECT_EQ(virDomainGetID(byUuid.get()), static_cast<unsigned>(-1));
    ASSERT_EQ(virDomainCreate(defined.get()), 0) << lastError();
    DomainHandle byId(virDomainLookupByID(client, static_cast<int>(virDomainGetID(defined.get()))));
    ASSERT_TRUE(byId) << lastError();
    EXPECT_STREQ(virDomainGetName(byId.get()), "web1");
    EXPECT_FALSE(DomainHandle(virDomainLookupByID(client, 4711)));
    EXPECT_TRUE(failedWith(VIR_ERR_NO_DOMAIN, "4711"));
}

TEST_F(Definition, ListsTellActiveFromDefined)
{
    Client client(root());
    ASSERT_TRUE(client.define(domainXml("off1")));
    ASSERT_TRUE(client.define(domainXml("off2")));
    ASSERT_TRUE(client.create(domainXml("on")));
    EXPECT_EQ(virConnectNumOfDomains(client), 1);
    EXPECT_EQ(virConnectNumOfDefinedDomains(client), 2);
    int ids[4];
    EXPECT_EQ(virConnectListDomains(client, ids, 4), 1);
    char *names[4];
    ASSERT_EQ(virConnectListDefinedDomains(client, names, 4), 2);
    for (int i = 0; i < 2; i++)
        EXPECT_THAT(textOf(names[i]), HasSubstr("off"));
    EXPECT_EQ(client.names(VIR_CONNECT_LIST_DOMAINS_INACTIVE), "off1 off2");
    EXPECT_EQ(client.names(VIR_CONNECT_LIST_DOMAINS_TRANSIENT), "on");
    EXPECT_EQ(client.names(VIR_CONNECT_LIST_DOMAINS_RUNNING), "on");
    EXPECT_EQ(virConnectListAllDomains(client, nullptr, 1u << 30), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_INVALID_ARG, "0x40000000"));
}

TEST_F(Definition, ReplacesTheOneWithTheSameNameAndUuid)
{
    Client client(root());
    ASSERT_TRUE(client.define(domainXml("web1")));
    auto domain = client.define(domainXml("web1", "", "<title>new</title>"));
    ASSERT_TRUE(domain) << lastError();
    EXPECT_TRUE(client.sees("web1:defined.1"));
    EXPECT_EQ(textOf(virDomainGetMetadata(domain.get(), VIR_DOMAIN_METADATA_TITLE, nullptr, 0)), "new");
    EXPECT_EQ(client.names(), "web1");
}

TEST_F(Definition, RefusesANameOrUuidThatIsTaken)
{
    Client client(root());
    ASSERT_TRUE(client.define(domainXml("web1")));
    std::string otherUuid = domainXml("web1");
    otherUuid.replace(otherUuid.find(uuidOf("web1")), 36, uuidOf("other"));
    EXPECT_FALSE(client.define(otherUuid));
    EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_FAILED, "already exists"));
    std::string otherName = domainXml("web2");
    otherName.replace(otherName.find(uuidOf("web2")), 36, uuidOf("web1"));
    EXPECT_FALSE(client.define(otherName));
    EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_FAILED, "already defined"));
    EXPECT_EQ(client.names(), "web1");
}

TEST_F(Definition, RefusesBrokenXmlAndWhatTheHypervisorDoesNotDo)
{
    Client client(root());
    EXPECT_FALSE(client.define("<domain"));
    EXPECT_TRUE(failedWith(VIR_ERR_XML_DETAIL));
    EXPECT_FALSE(client.define("<domain type='qemu'><name>x</name></domain>"));
    EXPECT_FALSE(client.define(domainXml("web1", "<hostdev mode='subsystem' type='usb'><source>"
                                                 "<address bus='1' device='2'/></source></hostdev>")));
    EXPECT_TRUE(failedWith(VIR_ERR_CONFIG_UNSUPPORTED, "hostdev"));
    EXPECT_EQ(virDomainDefineXMLFlags(client, domainXml("web1", "<nonsense/>").c_str(), VIR_DOMAIN_DEFINE_VALIDATE),
              nullptr);
    EXPECT_TRUE(failedWith(VIR_ERR_XML_INVALID_SCHEMA));
    EXPECT_EQ(virDomainDefineXMLFlags(client, domainXml("web1").c_str(), 1u << 20), nullptr);
    EXPECT_TRUE(failedWith(VIR_ERR_INVALID_ARG));
    EXPECT_EQ(client.names(), "");
}

TEST_F(Definition, ThatCannotBeWrittenLeavesTheOldOne)
{
    Client client(root());
    ASSERT_TRUE(client.define(domainXml("web1", "", "<title>old</title>")));
    const std::string file = configFile(root(), "web1");
    // Even root cannot write a file over a directory.
    std::filesystem::remove(file);
    std::filesystem::create_directories(file + "/in-the-way");
    EXPECT_FALSE(client.define(domainXml("web1", "", "<title>new</title>")));
    auto domain = client.lookup("web1");
    ASSERT_TRUE(domain);
    EXPECT_THAT(xmlOf(domain), HasSubstr("<title>old</title>"));
    EXPECT_EQ(virDomainSetMaxMemory(domain.get(), 128 * 1024), -1);
    EXPECT_EQ(virDomainGetMaxMemory(domain.get()), 64u * 1024);

    std::filesystem::create_directories(configFile(root(), "web2") + "/in-the-way");
    EXPECT_FALSE(client.define(domainXml("web2")));
    EXPECT_EQ(client.names(), "web1");
}

TEST_F(Definition, OfARunningDomainChangesForItsNextStart)
{
    Client client(root());
    auto domain = client.define(domainXml("web1", "", "<title>old</title>"));
    ASSERT_EQ(virDomainCreate(domain.get()), 0) << lastError();
    ASSERT_TRUE(client.define(domainXml("web1", "", "<title>new</title>"))) << lastError();
    EXPECT_THAT(xmlOf(domain), HasSubstr("<title>old</title>"));
    EXPECT_THAT(xmlOf(domain, VIR_DOMAIN_XML_INACTIVE), HasSubstr("<title>new</title>"));
    ASSERT_EQ(virDomainDestroy(domain.get()), 0);
    EXPECT_THAT(xmlOf(domain), HasSubstr("<title>new</title>"));
}

TEST_F(Definition, OfATransientDomainMakesItPersistent)
{
    Client client(root());
    auto domain = client.create(domainXml("web1"));
    ASSERT_TRUE(domain) << lastError();
    EXPECT_EQ(virDomainUndefine(domain.get()), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_INVALID, "transient"));
    ASSERT_TRUE(client.define(domainXml("web1")));
    EXPECT_EQ(virDomainIsPersistent(domain.get()), 1);
    ASSERT_EQ(virDomainUndefine(domain.get()), 0);
    EXPECT_EQ(virDomainIsPersistent(domain.get()), 0);
    EXPECT_EQ(client.names(), "web1") << "it runs on";
    ASSERT_EQ(virDomainDestroy(domain.get()), 0);
    EXPECT_EQ(client.names(), "");
}

TEST_F(Definition, ShowsSecretsOnlyWhenAsked)
{
    Client client(root());
    auto domain = client.define(domainXml("web1", "<graphics type='vnc' passwd='hush'/>"));
    ASSERT_TRUE(domain) << lastError();
    EXPECT_EQ(xmlOf(domain).find("hush"), std::string::npos);
    EXPECT_THAT(xmlOf(domain, VIR_DOMAIN_XML_SECURE), HasSubstr("hush"));
    EXPECT_THAT(xmlOf(domain, VIR_DOMAIN_XML_MIGRATABLE | VIR_DOMAIN_XML_UPDATE_CPU), HasSubstr("<name>web1</name>"));
    EXPECT_EQ(virDomainGetXMLDesc(domain.get(), 1u << 20), nullptr);
    EXPECT_TRUE(failedWith(VIR_ERR_INVALID_ARG));
    EXPECT_EQ(textOf(virDomainGetOSType(domain.get())), "hvm");
    EXPECT_EQ(virDomainIsUpdated(domain.get()), 0);
}

TEST_F(Definition, AutostartIsALinkAndStartsTheDomainOnce)
{
    const std::string link = root() + "/etc/godwit/autostart/web1.xml";
    {
        Client client(root());
        auto domain = client.define(domainXml("web1"));
        int autostart = -1;
        ASSERT_EQ(virDomainGetAutostart(domain.get(), &autostart), 0);
        EXPECT_EQ(autostart, 0);
        ASSERT_EQ(virDomainSetAutostart(domain.get(), 1), 0) << lastError();
        ASSERT_EQ(virDomainSetAutostart(domain.get(), 1), 0) << "twice is as good as once: " << lastError();
        EXPECT_TRUE(exists(link));
        EXPECT_EQ(client.names(VIR_CONNECT_LIST_DOMAINS_AUTOSTART), "web1");
        auto transient = client.create(domainXml("web2"));
        EXPECT_EQ(virDomainSetAutostart(transient.get(), 1), -1);
        EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_INVALID, "transient"));
        ASSERT_EQ(virDomainDestroy(transient.get()), 0);
    }
    // As after a boot of the machine, which empties the state directory.
    std::filesystem::remove(root() + "/run/godwit/autostarted");
    {
        Client client(root());
        auto domain = client.lookup("web1");
        EXPECT_EQ(stateOf(domain), "running.1");
        ASSERT_EQ(virDomainDestroy(domain.get()), 0);
    }
    Client client(root());
    auto domain = client.lookup("web1");
    EXPECT_EQ(stateOf(domain).substr(0, 7), "shutoff") << "only once";
    ASSERT_EQ(virDomainSetAutostart(domain.get(), 0), 0);
    EXPECT_FALSE(exists(link));
    ASSERT_EQ(virDomainSetAutostart(domain.get(), 1), 0);
    ASSERT_EQ(virDomainUndefine(domain.get()), 0);
    EXPECT_FALSE(exists(link));
}

TEST_F(Definition, MetadataIsSetLiveAndForLater)
{
    Client client(root());
    auto domain = client.define(domainXml("web1"));
    ASSERT_EQ(virDomainCreate(domain.get()), 0);
    ASSERT_EQ(virDomainSetMetadata(domain.get(), VIR_DOMAIN_METADATA_ELEMENT, "<owner>me</owner>", "o", "urn:o",
                                   VIR_DOMAIN_AFFECT_LIVE | VIR_DOMAIN_AFFECT_CONFIG),
              0)
        << lastError();
    EXPECT_TRUE(client.sees("web1:metadata 2 urn:o"));
    EXPECT_THAT(textOf(virDomainGetMetadata(domain.get(), VIR_DOMAIN_METADATA_ELEMENT, "urn:o", 0)), HasSubstr("me"));
    EXPECT_THAT(readFile(configFile(root(), "web1")), HasSubstr("owner"));
    ASSERT_EQ(virDomainSetMetadata(domain.get(), VIR_DOMAIN_METADATA_DESCRIPTION, "now", nullptr, nullptr,
                                   VIR_DOMAIN_AFFECT_LIVE),
              0);
    EXPECT_EQ(textOf(virDomainGetMetadata(domain.get(), VIR_DOMAIN_METADATA_DESCRIPTION, nullptr, 0)), "now");
    EXPECT_EQ(virDomainGetMetadata(domain.get(), VIR_DOMAIN_METADATA_DESCRIPTION, nullptr, VIR_DOMAIN_AFFECT_CONFIG),
              nullptr);
    EXPECT_TRUE(failedWith(VIR_ERR_NO_DOMAIN_METADATA));
}

TEST_F(Definition, IsRenamedWithAllThatCarriesTheName)
{
    Client client(root());
    auto domain = client.define(domainXml("web1"));
    ASSERT_TRUE(client.define(domainXml("taken")));
    ASSERT_EQ(virDomainSetAutostart(domain.get(), 1), 0);
    EXPECT_EQ(virDomainRename(domain.get(), "taken", 0), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_INVALID, "already exists"));
    EXPECT_EQ(virDomainRename(domain.get(), "a/b", 0), -1);
    ASSERT_EQ(virDomainRename(domain.get(), "web9", 0), 0) << lastError();
    EXPECT_TRUE(client.sees("web1:undefined.1"));
    EXPECT_TRUE(client.sees("web9:defined.2"));
    EXPECT_EQ(client.names(), "taken web9");
    EXPECT_FALSE(exists(configFile(root(), "web1")));
    EXPECT_TRUE(exists(configFile(root(), "web9")));
    EXPECT_FALSE(exists(root() + "/etc/godwit/autostart/web1.xml"));
    EXPECT_TRUE(exists(root() + "/etc/godwit/autostart/web9.xml"));
    auto renamed = client.lookup("web9");
    ASSERT_EQ(virDomainCreate(renamed.get()), 0) << lastError();
    EXPECT_EQ(virDomainRename(renamed.get(), "web8", 0), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_INVALID, "running"));
}

TEST_F(Definition, ThatCannotBeRenamedKeepsItsName)
{
    Client client(root());
    auto domain = client.define(domainXml("web1"));
    std::filesystem::create_directories(configFile(root(), "web9") + "/in-the-way");
    EXPECT_EQ(virDomainRename(domain.get(), "web9", 0), -1);
    EXPECT_EQ(client.names(), "web1");
    EXPECT_TRUE(exists(configFile(root(), "web1")));
    ASSERT_EQ(virDomainUndefine(domain.get()), 0) << lastError();
}

} // namespace godwit::tests
