// SPDX-License-Identifier: LGPL-2.1-or-later
#include "conf/libvirt.h"

#include "tests/driver/two_hosts.h"

#include <map>

// How a migration is driven: by the source's daemon, through a tunnel, by clients that know
// no typed parameters. The phases that libvirt's public API hides are called one by one.

namespace godwit::tests {

using testing::HasSubstr;
using testing::IsEmpty;

class MigrationModes : public TwoHosts
{
protected:
    std::string uriOfB() const { return "godwit:///embed?root=" + root("b"); }
    /// As virDomainMigrateToURI3() calls the source's daemon; to b, unless it is told otherwise.
    bool toPeer(const DomainHandle &domain, unsigned flags = VIR_MIGRATE_LIVE,
                const std::map<std::string, std::string> &more = {}, std::string uri = {})
    {
        std::map<std::string, std::string> all = more;
        if (!(flags & VIR_MIGRATE_TUNNELLED))
            all.try_emplace(VIR_MIGRATE_PARAM_URI, "tcp://127.0.0.1");
        virTypedParameterPtr params = nullptr;
        int count = 0;
        int room = 0;
        for (const auto &[name, value] : all)
            EXPECT_EQ(virTypedParamsAddString(&params, &count, &room, name.c_str(), value.c_str()), 0);
        const int moved = virDomainMigratePerform3Params(domain.get(), (uri.empty() ? uriOfB() : uri).c_str(), params,
                                                         count, nullptr, 0, nullptr, nullptr,
                                                         flags | VIR_MIGRATE_PEER2PEER);
        virTypedParamsFree(params, count);
        return moved == 0;
    }
    void expectMoved(const DomainHandle &domain)
    {
        EXPECT_EQ(stateOf(domain), "shutoff.4");
        EXPECT_EQ(stateOf(b.lookup("web1")), "running.2");
        EXPECT_EQ(machine("web1", "b")->memory(), "what the guest remembers");
        EXPECT_EQ(world().aliveCount(), 1u);
        EXPECT_THAT(leftovers("a"), IsEmpty());
    }
};

TEST_F(MigrationModes, PeerToPeerMovesARunningGuest)
{
    auto domain = start();
    ASSERT_TRUE(toPeer(domain)) << lastError();
    expectMoved(domain);
    EXPECT_TRUE(a.sees("web1:stopped.3"));
    EXPECT_TRUE(b.sees("web1:resumed.1"));
}

TEST_F(MigrationModes, ATunnelMovesARunningGuest)
{
    auto domain = start();
    ASSERT_TRUE(toPeer(domain, VIR_MIGRATE_LIVE | VIR_MIGRATE_TUNNELLED)) << lastError();
    expectMoved(domain);
}

TEST_F(MigrationModes, PersistsAndUndefinesPeerToPeer)
{
    auto domain = start();
    ASSERT_TRUE(toPeer(domain, VIR_MIGRATE_LIVE | VIR_MIGRATE_PERSIST_DEST | VIR_MIGRATE_UNDEFINE_SOURCE |
                                   VIR_MIGRATE_PAUSED | VIR_MIGRATE_CHANGE_PROTECTION,
                       {{VIR_MIGRATE_PARAM_DEST_NAME, "web2"},
                        {VIR_MIGRATE_PARAM_DEST_XML, domainXml("web1", "", "<title>live</title>")},
                        {VIR_MIGRATE_PARAM_PERSIST_XML, domainXml("web1", "", "<title>later</title>")}}))
        << lastError();
    EXPECT_EQ(a.names(), "");
    auto moved = b.lookup("web2");
    EXPECT_EQ(stateOf(moved).substr(0, 6), "paused");
    EXPECT_EQ(virDomainIsPersistent(moved.get()), 1);
    EXPECT_THAT(xmlOf(moved), HasSubstr("live"));
    EXPECT_THAT(xmlOf(moved, VIR_DOMAIN_XML_INACTIVE), HasSubstr("later"));
}

TEST_F(MigrationModes, APausedGuestArrivesPaused)
{
    auto domain = start(VIR_DOMAIN_START_PAUSED);
    ASSERT_TRUE(toPeer(domain)) << lastError();
    EXPECT_EQ(stateOf(b.lookup("web1")).substr(0, 6), "paused");
    EXPECT_EQ(machine("web1", "b")->memory(), "what the guest remembers");
}

TEST_F(MigrationModes, LeaveTheGuestRunningWhicheverStepFails)
{
    auto domain = start();
    for (const unsigned flags : {VIR_MIGRATE_LIVE, VIR_MIGRATE_TUNNELLED}) {
        for (const char *step : {"receive", "describe", "save", "finish", "unpause"}) {
            world().failNext(step, error("no luck"));
            EXPECT_FALSE(toPeer(domain, flags)) << step;
            EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_FAILED, "no luck")) << step;
            expectOnlyOnSource(domain, step);
        }
    }
    ASSERT_TRUE(toPeer(domain)) << lastError();
}

TEST_F(MigrationModes, TellOfAStopAndItsEndOnlyWhereThereWasOne)
{
    auto domain = start();
    world().failNext("receive", error("no luck"));
    EXPECT_FALSE(toPeer(domain));
    for (const std::string &event : a.events())
        EXPECT_FALSE(event.starts_with("web1:suspended") || event.starts_with("web1:resumed")) << event;
    EXPECT_EQ(stateOf(domain), "running.1");
    world().failNext("unpause", error("no luck"));
    EXPECT_FALSE(toPeer(domain));
    EXPECT_TRUE(a.sees("web1:suspended.1"));
    EXPECT_TRUE(a.sees("web1:resumed.1"));
    EXPECT_EQ(stateOf(domain), "running.6");
}

TEST_F(MigrationModes, LeaveADefinitionThatTheDestinationHadAlready)
{
    auto domain = start();
    auto known = b.define(domainXml("web1", "", "<title>of old</title>"));
    for (const char *step : {"receive", "finish"}) {
        world().failNext(step, error("no luck"));
        EXPECT_FALSE(toPeer(domain)) << step;
        EXPECT_EQ(b.names(), "web1") << step;
        EXPECT_EQ(virDomainIsPersistent(known.get()), 1) << step;
        EXPECT_THAT(xmlOf(known), HasSubstr("of old")) << step;
        EXPECT_EQ(stateOf(known).substr(0, 7), "shutoff") << step;
    }
    // It is the last step that fails, with the new definition stored already.
    world().failNext("unpause", error("no luck"));
    EXPECT_FALSE(toPeer(domain, VIR_MIGRATE_LIVE | VIR_MIGRATE_PERSIST_DEST));
    EXPECT_THAT(xmlOf(known), HasSubstr("of old"));
    EXPECT_EQ(virDomainIsPersistent(known.get()), 1);
    ASSERT_TRUE(toPeer(domain)) << lastError();
    EXPECT_THAT(xmlOf(known, VIR_DOMAIN_XML_INACTIVE), HasSubstr("of old"));
}

TEST_F(MigrationModes, LeaveNoDefinitionWhereThereWasNone)
{
    auto domain = start();
    world().failNext("unpause", error("no luck"));
    EXPECT_FALSE(toPeer(domain, VIR_MIGRATE_LIVE | VIR_MIGRATE_PERSIST_DEST));
    expectOnlyOnSource(domain, "unpause");
    for (const std::string &event : b.events())
        EXPECT_FALSE(event.starts_with("web1:defined")) << event;
}

TEST_F(MigrationModes, RefuseADefinitionThatTheDestinationDoesNotSupport)
{
    const auto prepare = [&](const std::string &xml, const std::string &cookie) {
        char *reply = nullptr;
        char *uri = nullptr;
        int length = 0;
        EXPECT_EQ(virDomainMigratePrepare3(b, cookie.c_str(), static_cast<int>(cookie.size() + 1), &reply, &length,
                                           "tcp://127.0.0.1", &uri, 0, nullptr, 0, xml.c_str()),
                  -1);
        EXPECT_TRUE(failedWith(VIR_ERR_CONFIG_UNSUPPORTED, "more than 8 vCPUs"));
        EXPECT_EQ(b.names(), "");
    };
    const std::string head = "<libxl-migration><name>web1</name><uuid>" + uuidOf("web1") +
                             "</uuid><migration-stream-version>2</migration-stream-version>";
    const std::string many = domainXml("web1", "", "<vcpu>9</vcpu>");
    prepare(many, head + "</libxl-migration>");
    std::string escaped;
    for (char c : many)
        escaped += c == '<' ? "&lt;" : std::string(1, c);
    prepare(domainXml("web1"), head + "<godwit><stream min='2' max='2'/><persistent>" + escaped +
                                   "</persistent></godwit></libxl-migration>");
}

TEST_F(MigrationModes, RefuseAPeerThatIsNone)
{
    auto domain = start();
    EXPECT_FALSE(toPeer(domain, VIR_MIGRATE_LIVE, {}, "godwit+tcp://127.0.0.1:1/system"));
    EXPECT_THAT(lastError(), HasSubstr("127.0.0.1"));
    expectOnlyOnSource(domain, "nobody listens");
    EXPECT_FALSE(toPeer(domain, VIR_MIGRATE_LIVE, {}, "test:///default"));
    EXPECT_THAT(lastError(), HasSubstr("test:///default"));
    expectOnlyOnSource(domain, "another hypervisor");
}

TEST_F(MigrationModes, RefuseATunnelWithAnAddress)
{
    auto domain = start();
    EXPECT_FALSE(toPeer(domain, VIR_MIGRATE_TUNNELLED, {{VIR_MIGRATE_PARAM_URI, "tcp://127.0.0.1"}}));
    EXPECT_TRUE(failedWith(VIR_ERR_INVALID_ARG, "no migration URI"));
    EXPECT_FALSE(toPeer(domain, VIR_MIGRATE_TUNNELLED, {{VIR_MIGRATE_PARAM_LISTEN_ADDRESS, "127.0.0.1"}}));
    EXPECT_TRUE(failedWith(VIR_ERR_INVALID_ARG, "no listen address"));
    expectOnlyOnSource(domain, "tunnel");
}

// ---- without typed parameters ---------------------------------------------------------------

TEST_F(MigrationModes, WorkWithoutTypedParameters)
{
    auto domain = start();
    char *cookie = nullptr;
    int length = 0;
    const Malloced xml(virDomainMigrateBegin3(domain.get(), nullptr, &cookie, &length, VIR_MIGRATE_CHANGE_PROTECTION,
                                              nullptr, 0));
    ASSERT_TRUE(xml) << lastError();
    Malloced begun(cookie);
    char *uri = nullptr;
    cookie = nullptr;
    ASSERT_EQ(virDomainMigratePrepare3(b, begun.get(), length, &cookie, &length, "tcp://127.0.0.1", &uri, 0, "web2", 0,
                                       xml.get()),
              0)
        << lastError();
    Malloced prepared(cookie);
    const Malloced where(uri);
    EXPECT_THAT(where.get(), HasSubstr("tcp://127.0.0.1:"));
    cookie = nullptr;
    ASSERT_EQ(virDomainMigratePerform3(domain.get(), nullptr, prepared.get(), length, &cookie, &length, nullptr,
                                       where.get(), VIR_MIGRATE_CHANGE_PROTECTION, "web2", 0),
              0)
        << lastError();
    Malloced performed(cookie);
    cookie = nullptr;
    const DomainHandle moved(virDomainMigrateFinish3(b, "web2", performed.get(), length, &cookie, &length, nullptr,
                                                     where.get(), 0, 0));
    ASSERT_TRUE(moved) << lastError();
    Malloced finished(cookie);
    EXPECT_EQ(virDomainMigrateConfirm3(domain.get(), finished.get(), length, VIR_MIGRATE_CHANGE_PROTECTION, 0), 0)
        << lastError();
    EXPECT_EQ(stateOf(domain), "shutoff.4");
    EXPECT_STREQ(virDomainGetName(moved.get()), "web2");
    EXPECT_EQ(machine("web2", "b")->memory(), "what the guest remembers");
}

TEST_F(MigrationModes, WorkPeerToPeerWithoutTypedParameters)
{
    auto domain = start();
    ASSERT_EQ(virDomainMigratePerform3(domain.get(), nullptr, nullptr, 0, nullptr, nullptr, uriOfB().c_str(),
                                       "tcp://127.0.0.1", VIR_MIGRATE_PEER2PEER, nullptr, 0),
              0)
        << lastError();
    expectMoved(domain);
}

// ---- what is refused -----------------------------------------------------------------------

TEST_F(MigrationModes, AreRefusedByNameWhereThereAreNone)
{
    auto domain = start();
    const std::pair<unsigned, const char *> flags[] = {
        {VIR_MIGRATE_NON_SHARED_DISK, "copy of non-shared storage"},
        {VIR_MIGRATE_NON_SHARED_INC, "incremental copy of non-shared storage"},
        {VIR_MIGRATE_NON_SHARED_SYNCHRONOUS_WRITES, "synchronous copy of non-shared storage"},
        {VIR_MIGRATE_COMPRESSED, "compressed"},
        {VIR_MIGRATE_RDMA_PIN_ALL, "RDMA"},
        {VIR_MIGRATE_POSTCOPY, "post-copy"},
        {VIR_MIGRATE_POSTCOPY_RESUME, "resumed post-copy"},
        {VIR_MIGRATE_AUTO_CONVERGE, "auto-converging"},
        {VIR_MIGRATE_ZEROCOPY, "zero-copy"},
    };
    for (const auto &[flag, name] : flags) {
        EXPECT_FALSE(toPeer(domain, VIR_MIGRATE_LIVE | flag)) << name;
        EXPECT_TRUE(failedWith(VIR_ERR_CONFIG_UNSUPPORTED, std::string(name) + " migration is not supported"));
    }
    const std::pair<const char *, const char *> parameters[] = {
        {VIR_MIGRATE_PARAM_MIGRATE_DISKS, "copy of non-shared storage"},
        {VIR_MIGRATE_PARAM_DISKS_URI, "copy of non-shared storage"},
        {VIR_MIGRATE_PARAM_COMPRESSION, "compressed"},
    };
    for (const auto &[parameter, name] : parameters) {
        EXPECT_FALSE(toPeer(domain, VIR_MIGRATE_LIVE, {{parameter, "x"}})) << parameter;
        EXPECT_TRUE(failedWith(VIR_ERR_CONFIG_UNSUPPORTED, std::string(name) + " migration is not supported"));
    }
    EXPECT_FALSE(toPeer(domain, 1u << 30));
    EXPECT_TRUE(failedWith(VIR_ERR_INVALID_ARG, "unsupported flags (0x40000000)"));
    EXPECT_FALSE(toPeer(domain, VIR_MIGRATE_LIVE, {{"nonsense", "x"}}));
    EXPECT_THAT(lastError(), HasSubstr("nonsense"));
    expectOnlyOnSource(domain, "flags");
}

TEST_F(MigrationModes, RefuseCookiesThatAreTooLarge)
{
    std::string cookie = "<libxl-migration><name>web1</name><uuid>" + uuidOf("web1") +
                         "</uuid><migration-stream-version>2</migration-stream-version></libxl-migration>";
    const auto prepare = [&] {
        char *reply = nullptr;
        char *uri = nullptr;
        int length = 0;
        const int done = virDomainMigratePrepare3(b, cookie.c_str(), static_cast<int>(cookie.size() + 1), &reply, &length,
                                                  "tcp://127.0.0.1", &uri, 0, nullptr, 0, domainXml("web1").c_str());
        std::free(reply);
        std::free(uri);
        return done == 0;
    };
    cookie.resize((4 << 20) - 1, ' ');
    EXPECT_TRUE(prepare()) << lastError();
    EXPECT_FALSE(virDomainMigrateFinish3(b, "web1", nullptr, 0, nullptr, nullptr, nullptr, nullptr, 0, 1));
    cookie += ' ';
    EXPECT_FALSE(prepare());
    EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_FAILED, "its length is out of range"));
    EXPECT_THAT(lastError(), HasSubstr("refuses domain 'web1'"));
    EXPECT_EQ(b.names(), "");
    EXPECT_EQ(world().aliveCount(), 0u);
}

// ---- offline -----------------------------------------------------------------------------------

TEST_F(MigrationModes, OfflineMovesADefinition)
{
    auto domain = a.define(domainXml("web1", "", "<title>here</title>"));
    constexpr unsigned flags = VIR_MIGRATE_OFFLINE | VIR_MIGRATE_PERSIST_DEST;
    virTypedParameterPtr none = nullptr;
    for (const bool again : {false, true}) {
        DomainHandle moved(virDomainMigrate3(domain.get(), b, none, 0, flags));
        ASSERT_TRUE(moved) << lastError();
        EXPECT_EQ(virDomainIsActive(moved.get()), 0) << again;
        EXPECT_EQ(virDomainIsPersistent(moved.get()), 1) << again;
        EXPECT_THAT(xmlOf(moved), HasSubstr("here")) << again;
        EXPECT_TRUE(exists(root("b") + "/etc/godwit/web1.xml")) << again;
        EXPECT_EQ(a.names(), "web1") << "it stays where it was, too";
    }
    ASSERT_TRUE(toPeer(domain, flags | VIR_MIGRATE_UNDEFINE_SOURCE)) << lastError();
    EXPECT_EQ(a.names(), "");
    EXPECT_EQ(b.names(), "web1");
    EXPECT_EQ(world().aliveCount(), 0u);
    ASSERT_EQ(virDomainCreate(b.lookup("web1").get()), 0) << lastError();
}

TEST_F(MigrationModes, OfflineLeavesARunningGuestAlone)
{
    auto domain = start();
    DomainHandle moved(virDomainMigrate3(domain.get(), b, nullptr, 0, VIR_MIGRATE_OFFLINE | VIR_MIGRATE_PERSIST_DEST));
    ASSERT_TRUE(moved) << lastError();
    EXPECT_EQ(virDomainIsActive(moved.get()), 0);
    EXPECT_EQ(stateOf(domain), "running.1");
    EXPECT_EQ(world().aliveCount(), 1u);
}

TEST_F(MigrationModes, OfflineIsRefusedWhereSomethingWouldStayBehind)
{
    auto domain = a.define(domainXml("web1"));
    EXPECT_FALSE(DomainHandle(virDomainMigrate3(domain.get(), b, nullptr, 0, VIR_MIGRATE_OFFLINE)));
    EXPECT_TRUE(failedWith(VIR_ERR_INVALID_ARG, "--persistent"));
    EXPECT_FALSE(toPeer(domain, VIR_MIGRATE_OFFLINE | VIR_MIGRATE_PERSIST_DEST | VIR_MIGRATE_TUNNELLED));
    EXPECT_TRUE(failedWith(VIR_ERR_INVALID_ARG, "tunnel"));
    ASSERT_EQ(virDomainCreate(domain.get()), 0);
    ASSERT_EQ(virDomainManagedSave(domain.get(), 0), 0) << lastError();
    EXPECT_FALSE(toPeer(domain, VIR_MIGRATE_OFFLINE | VIR_MIGRATE_PERSIST_DEST));
    EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_INVALID, "managed-save image"));
    auto twin = b.create(domainXml("web1"));
    ASSERT_EQ(virDomainManagedSaveRemove(domain.get(), 0), 0);
    EXPECT_FALSE(toPeer(domain, VIR_MIGRATE_OFFLINE | VIR_MIGRATE_PERSIST_DEST));
    EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_INVALID, "already active"));
    EXPECT_EQ(virDomainIsPersistent(twin.get()), 0);
    EXPECT_EQ(a.names(), "web1");
}

// ---- what could be lost -----------------------------------------------------------------------

static std::string diskOf(const std::string &type, const std::string &source, const std::string &more = "")
{
    return "<disk type='" + type + "' device='disk'><driver name='qemu' type='raw'" + more + "/><source " + source +
           "/><target dev='vda' bus='virtio'/></disk>";
}

TEST_F(MigrationModes, RefuseAGuestThatHasDevicesOfItsHost)
{
    auto domain = startWith("<hostdev mode='subsystem' type='pci' managed='yes'><source>"
                            "<address domain='0' bus='0' slot='16' function='0'/></source></hostdev>");
    for (const unsigned flags : {VIR_MIGRATE_LIVE, VIR_MIGRATE_UNSAFE}) {
        EXPECT_FALSE(toPeer(domain, flags));
        EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_INVALID, "devices of this host"));
        expectOnlyOnSource(domain, "host device");
    }
}

TEST_F(MigrationModes, RefuseWhatIsUnsafeUnlessItIsWanted)
{
    writeFile(base() + "/disk", "");
    const std::string file = "file='" + base() + "/disk'";
    const std::pair<std::string, const char *> unsafe[] = {
        {diskOf("file", file), "not on storage that hosts share"},
        {diskOf("file", file, " cache='none'"), "not on storage that hosts share"},
        {diskOf("block", "dev='/dev/null'"), "cache mode"},
        {diskOf("block", "dev='/dev/null'", " cache='writeback'"), "cache mode"},
    };
    for (const auto &[device, why] : unsafe) {
        auto domain = startWith(device);
        EXPECT_FALSE(toPeer(domain)) << device;
        EXPECT_TRUE(failedWith(VIR_ERR_MIGRATE_UNSAFE, why)) << device;
        EXPECT_THAT(lastError(), HasSubstr("'vda'"));
        expectOnlyOnSource(domain, device);
        EXPECT_TRUE(toPeer(domain, VIR_MIGRATE_UNSAFE)) << lastError();
        ASSERT_EQ(virDomainDestroy(b.lookup("web1").get()), 0);
    }
    const std::string safe[] = {
        diskOf("block", "dev='/dev/null'", " cache='none'"),
        diskOf("block", "dev='/dev/null'", " cache='directsync'"),
        diskOf("network", "protocol='nbd' name='x'"),
        "<disk type='file' device='cdrom'><source " + file + "/><target dev='hda' bus='ide'/><readonly/></disk>",
        "<disk type='file' device='cdrom'><target dev='hda' bus='ide'/></disk>",
    };
    for (const std::string &device : safe) {
        auto domain = startWith(device);
        EXPECT_TRUE(toPeer(domain)) << device << lastError();
        ASSERT_EQ(virDomainDestroy(b.lookup("web1").get()), 0);
    }
}

TEST_F(MigrationModes, CheckTheGraphicsUriAndPassOverIt)
{
    auto domain = startWith("<graphics type='vnc'/>");
    const std::pair<const char *, const char *> bad[] = {
        {"spice://host:5900", "only VNC"},
        {"nonsense", "nonsense"},
        {"vnc://", "vnc://"},
        {"telnet://host", "telnet"},
    };
    for (const auto &[uri, why] : bad) {
        EXPECT_FALSE(toPeer(domain, VIR_MIGRATE_LIVE, {{VIR_MIGRATE_PARAM_GRAPHICS_URI, uri}})) << uri;
        EXPECT_THAT(lastError(), HasSubstr(why)) << uri;
    }
    expectOnlyOnSource(domain, "graphics");
    EXPECT_TRUE(toPeer(domain, VIR_MIGRATE_LIVE, {{VIR_MIGRATE_PARAM_GRAPHICS_URI, "vnc://host:5901"}})) << lastError();
    auto plain = a.create(domainXml("web2"));
    EXPECT_FALSE(toPeer(plain, VIR_MIGRATE_LIVE, {{VIR_MIGRATE_PARAM_GRAPHICS_URI, "vnc://host:5901"}}));
    EXPECT_THAT(lastError(), HasSubstr("no such display"));
}

TEST_F(MigrationModes, AreAnnouncedAsLibvirtAsksForThem)
{
    const std::pair<int, int> features[] = {
        {VIR_DRV_FEATURE_MIGRATION_V1, 0},     {VIR_DRV_FEATURE_MIGRATION_V2, 0},
        {VIR_DRV_FEATURE_MIGRATION_V3, 1},     {VIR_DRV_FEATURE_MIGRATION_PARAMS, 1},
        {VIR_DRV_FEATURE_MIGRATION_P2P, 1},    {VIR_DRV_FEATURE_MIGRATION_DIRECT, 0},
        {VIR_DRV_FEATURE_MIGRATION_OFFLINE, 1}, {VIR_DRV_FEATURE_XML_MIGRATABLE, 1},
        {VIR_DRV_FEATURE_MIGRATE_CHANGE_PROTECTION, 1},
    };
    for (const auto &[feature, expected] : features)
        EXPECT_EQ(virConnectSupportsFeature(a, feature), expected) << feature;
    auto domain = start();
    EXPECT_EQ(virDomainMigrateToURI3(domain.get(), "tcp://127.0.0.1", nullptr, 0, VIR_MIGRATE_LIVE), -1);
    EXPECT_THAT(lastError(), HasSubstr("direct migration"));
}

} // namespace godwit::tests
