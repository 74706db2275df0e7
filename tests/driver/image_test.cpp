// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/driver/fake_test.h"

namespace godwit::tests {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class Image : public FakeHostsTest
{
protected:
    std::string image() const { return base() + "/image"; }
    std::string managedImage() const { return root() + "/var/lib/godwit/save/web1.save"; }
    DomainHandle start(Client &client, const char *memory = "what the guest remembers")
    {
        auto domain = client.define(domainXml("web1"));
        EXPECT_EQ(virDomainCreate(domain.get()), 0) << lastError();
        machine("web1")->setMemory(memory);
        return domain;
    }
};

TEST_F(Image, CarriesAGuestToAnotherHost)
{
    Client a(root("a"));
    Client b(root("b"));
    auto domain = start(a);
    ASSERT_EQ(virDomainSave(domain.get(), image().c_str()), 0) << lastError();
    EXPECT_EQ(stateOf(domain), "shutoff.5");
    EXPECT_TRUE(a.sees("web1:stopped.4"));
    ASSERT_EQ(virDomainRestore(b, image().c_str()), 0) << lastError();
    EXPECT_TRUE(b.sees("web1:started.2"));
    EXPECT_EQ(stateOf(b.lookup("web1")), "running.3");
    EXPECT_EQ(machine("web1", "b")->memory(), "what the guest remembers");
    EXPECT_EQ(world().aliveCount(), 1u);
    EXPECT_EQ(virDomainRestore(b, image().c_str()), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_INVALID, "already active"));
    EXPECT_THAT(leftovers("a"), IsEmpty());
}

TEST_F(Image, BringsTheGuestBackAsItWasOrAsWished)
{
    Client client(root());
    auto domain = start(client);
    ASSERT_EQ(virDomainSuspend(domain.get()), 0);
    ASSERT_EQ(virDomainSave(domain.get(), image().c_str()), 0) << lastError();
    ASSERT_EQ(virDomainRestore(client, image().c_str()), 0) << lastError();
    EXPECT_EQ(stateOf(domain).substr(0, 6), "paused");
    ASSERT_EQ(virDomainDestroy(domain.get()), 0);
    ASSERT_EQ(virDomainRestoreFlags(client, image().c_str(), nullptr, VIR_DOMAIN_SAVE_RUNNING), 0);
    EXPECT_EQ(stateOf(domain), "running.3");
    ASSERT_EQ(virDomainSaveFlags(domain.get(), image().c_str(), nullptr, VIR_DOMAIN_SAVE_PAUSED), 0);
    ASSERT_EQ(virDomainRestore(client, image().c_str()), 0);
    EXPECT_EQ(stateOf(domain).substr(0, 6), "paused");
}

TEST_F(Image, OfAFailedSaveIsNotThereAndTheGuestRuns)
{
    Client client(root());
    auto domain = start(client);
    writeFile(image(), "an older image");
    world().failNext("save", error("disk full"));
    EXPECT_EQ(virDomainSave(domain.get(), image().c_str()), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_FAILED, "disk full"));
    EXPECT_EQ(stateOf(domain), "running.7");
    EXPECT_TRUE(machine("web1")->running());
    EXPECT_EQ(readFile(image()), "an older image");
    EXPECT_EQ(virDomainSave(domain.get(), "/nonexistent/image"), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_SYSTEM_ERROR, "/nonexistent"));
    EXPECT_EQ(stateOf(domain), "running.7");
    EXPECT_TRUE(machine("web1")->running());
}

TEST_F(Image, TruncatedAnywhereIsRefusedAndLeavesNothing)
{
    Client client(root());
    auto domain = start(client, "m");
    ASSERT_EQ(virDomainSave(domain.get(), image().c_str()), 0) << lastError();
    ASSERT_EQ(virDomainUndefine(domain.get()), 0);
    const std::string whole = readFile(image());
    for (size_t length = 0; length < whole.size(); length += length < 64 ? 1 : 37) {
        writeFile(image(), whole.substr(0, length));
        ASSERT_EQ(virDomainRestore(client, image().c_str()), -1) << length;
        ASSERT_THAT(lastError(), Not(HasSubstr("no error"))) << length;
        ASSERT_EQ(client.names(), "") << length;
    }
    EXPECT_EQ(world().aliveCount(), 0u);
    EXPECT_THAT(leftovers(), IsEmpty());
    writeFile(image(), whole);
    EXPECT_EQ(virDomainRestore(client, image().c_str()), 0) << lastError();
}

TEST_F(Image, LeavesNothingWhicheverStepOfARestoreFails)
{
    Client client(root());
    auto domain = start(client);
    ASSERT_EQ(virDomainSave(domain.get(), image().c_str()), 0);
    ASSERT_EQ(virDomainUndefine(domain.get()), 0);
    for (const char *step : {"receive", "describe", "finish", "unpause"}) {
        world().failNext(step, error("no luck"));
        EXPECT_EQ(virDomainRestore(client, image().c_str()), -1) << step;
        EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_FAILED, "no luck")) << step;
        EXPECT_EQ(client.names(), "") << step;
        EXPECT_EQ(world().aliveCount(), 0u) << step;
        EXPECT_THAT(leftovers(), IsEmpty()) << step;
    }
}

TEST_F(Image, KeepsPasswords)
{
    Client client(root());
    auto domain = client.create(domainXml("web1", "<graphics type='vnc' passwd='hush'/>"));
    ASSERT_TRUE(domain) << lastError();
    ASSERT_EQ(virDomainSave(domain.get(), image().c_str()), 0) << lastError();
    ASSERT_EQ(virDomainRestore(client, image().c_str()), 0) << lastError();
    EXPECT_THAT(xmlOf(client.lookup("web1"), VIR_DOMAIN_XML_SECURE), HasSubstr("hush"));
}

TEST_F(Image, ShowsAndTakesItsXml)
{
    Client client(root());
    auto domain = start(client);
    const std::string titled = domainXml("web1", "", "<title>changed</title>");
    ASSERT_EQ(virDomainSave(domain.get(), image().c_str()), 0);
    EXPECT_THAT(textOf(virDomainSaveImageGetXMLDesc(client, image().c_str(), 0)), HasSubstr("web1"));
    ASSERT_EQ(virDomainSaveImageDefineXML(client, image().c_str(), titled.c_str(), 0), 0) << lastError();
    EXPECT_THAT(textOf(virDomainSaveImageGetXMLDesc(client, image().c_str(), 0)), HasSubstr("changed"));
    EXPECT_EQ(virDomainSaveImageDefineXML(client, image().c_str(), domainXml("web2").c_str(), 0), -1)
        << "another guest's definition";
    ASSERT_EQ(virDomainRestore(client, image().c_str()), 0) << lastError();
    EXPECT_THAT(xmlOf(domain), HasSubstr("changed"));
    EXPECT_EQ(machine("web1")->memory(), "what the guest remembers");
}

class ManagedSave : public Image
{
};

TEST_F(ManagedSave, IsWhereTheNextStartBegins)
{
    {
        Client client(root());
        auto domain = start(client);
        ASSERT_EQ(virDomainManagedSave(domain.get(), 0), 0) << lastError();
        EXPECT_EQ(virDomainHasManagedSaveImage(domain.get(), 0), 1);
        EXPECT_EQ(client.names(VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE), "web1");
    }
    Client client(root());
    auto domain = client.lookup("web1");
    EXPECT_EQ(virDomainHasManagedSaveImage(domain.get(), 0), 1) << "found again";
    EXPECT_EQ(client.names(VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE), "web1");
    ASSERT_EQ(virDomainCreate(domain.get()), 0) << lastError();
    EXPECT_EQ(stateOf(domain), "running.3");
    EXPECT_EQ(machine("web1")->memory(), "what the guest remembers");
    EXPECT_EQ(virDomainHasManagedSaveImage(domain.get(), 0), 0);
    EXPECT_EQ(client.names(VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE), "");
    EXPECT_FALSE(exists(managedImage()));
}

TEST_F(ManagedSave, SurvivesARestoreThatFails)
{
    Client client(root());
    auto domain = start(client);
    ASSERT_EQ(virDomainManagedSave(domain.get(), 0), 0);
    for (const char *step : {"receive", "describe", "finish", "unpause"}) {
        world().failNext(step, error("no luck"));
        EXPECT_EQ(virDomainCreate(domain.get()), -1) << step;
        EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_FAILED, "no luck")) << step;
        EXPECT_EQ(virDomainHasManagedSaveImage(domain.get(), 0), 1) << step;
        EXPECT_EQ(world().aliveCount(), 0u) << step;
        EXPECT_EQ(virDomainIsPersistent(domain.get()), 1) << step;
    }
    ASSERT_EQ(virDomainCreate(domain.get()), 0) << lastError();
    EXPECT_EQ(machine("web1")->memory(), "what the guest remembers");
}

TEST_F(ManagedSave, ThatIsBrokenIsDiscardedWhenForced)
{
    Client client(root());
    auto domain = start(client);
    ASSERT_EQ(virDomainManagedSave(domain.get(), 0), 0);
    writeFile(managedImage(), "rubbish");
    EXPECT_EQ(virDomainCreate(domain.get()), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_FAILED, "--force-boot"));
    ASSERT_EQ(virDomainCreateWithFlags(domain.get(), VIR_DOMAIN_START_FORCE_BOOT), 0) << lastError();
    EXPECT_EQ(stateOf(domain), "running.1");
    EXPECT_FALSE(exists(managedImage()));
}

TEST_F(ManagedSave, InterruptedAtItsEndIsNotStartedFrom)
{
    {
        Client client(root());
        start(client);
    }
    // As its host's process leaves things that is killed when the image is whole and the guest not yet ended.
    const std::string status = root() + "/run/godwit/web1.xml";
    std::string text = readFile(status);
    const std::string running = "state='running' reason='booted'";
    ASSERT_THAT(text, HasSubstr(running));
    writeFile(status, text.replace(text.find(running), running.size(), "state='paused' reason='save'"));
    writeFile(managedImage(), "of a moment that is past");
    Client client(root());
    auto domain = client.lookup("web1");
    EXPECT_EQ(stateOf(domain), "running.7");
    EXPECT_EQ(virDomainHasManagedSaveImage(domain.get(), 0), 0);
    EXPECT_FALSE(exists(managedImage()));
}

TEST_F(ManagedSave, LeavesNoPartOfAnImageWhenItsHostWasKilled)
{
    const std::string folder = root() + "/var/lib/godwit/save/";
    std::filesystem::create_directories(folder);
    const std::string part = folder + "web1.save.partial.Ab12Cd", other = folder + "a.save.partial.b.save";
    writeFile(part, "half");
    writeFile(other, "an image of a domain with a strange name");
    Client client(root());
    EXPECT_FALSE(exists(part));
    EXPECT_TRUE(exists(other));
}

TEST_F(ManagedSave, StandsInTheWayOfUndefineAndRename)
{
    Client client(root());
    auto domain = start(client);
    ASSERT_EQ(virDomainManagedSave(domain.get(), 0), 0);
    EXPECT_EQ(virDomainUndefine(domain.get()), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_INVALID, "managed save"));
    EXPECT_EQ(virDomainRename(domain.get(), "web2", 0), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_INVALID, "managed save"));
    ASSERT_EQ(virDomainUndefineFlags(domain.get(), VIR_DOMAIN_UNDEFINE_MANAGED_SAVE), 0) << lastError();
    EXPECT_FALSE(exists(managedImage()));
    EXPECT_EQ(client.names(), "");
    auto again = start(client);
    ASSERT_EQ(virDomainManagedSave(again.get(), 0), 0);
    ASSERT_EQ(virDomainManagedSaveRemove(again.get(), 0), 0);
    EXPECT_FALSE(exists(managedImage()));
    ASSERT_EQ(virDomainUndefine(again.get()), 0) << lastError();
}

TEST_F(ManagedSave, IsNotForTransientDomains)
{
    Client client(root());
    auto domain = client.create(domainXml("web1"));
    EXPECT_EQ(virDomainManagedSave(domain.get(), 0), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_INVALID, "transient"));
    EXPECT_EQ(stateOf(domain), "running.1");
}

} // namespace godwit::tests
