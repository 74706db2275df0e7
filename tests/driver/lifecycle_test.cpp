// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/driver/fake_test.h"

namespace godwit::tests {

using testing::HasSubstr;
using testing::IsEmpty;

class Lifecycle : public FakeHostsTest
{
};

TEST_F(Lifecycle, StartsStopsAndTellsOfIt)
{
    Client client(root());
    auto domain = client.define(domainXml("web1"));
    ASSERT_EQ(virDomainCreate(domain.get()), 0) << lastError();
    EXPECT_EQ(stateOf(domain), "running.1");
    EXPECT_TRUE(client.sees("web1:started.0"));
    EXPECT_GT(static_cast<int>(virDomainGetID(domain.get())), 0);
    EXPECT_TRUE(machine("web1")->running());
    EXPECT_EQ(virDomainCreate(domain.get()), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_INVALID, "already running"));

    ASSERT_EQ(virDomainSuspend(domain.get()), 0);
    EXPECT_EQ(stateOf(domain), "paused.1");
    EXPECT_TRUE(client.sees("web1:suspended.0"));
    ASSERT_EQ(virDomainSuspend(domain.get()), 0) << "twice is as good as once";
    ASSERT_EQ(virDomainResume(domain.get()), 0);
    EXPECT_EQ(stateOf(domain), "running.5");
    EXPECT_TRUE(client.sees("web1:resumed.0"));

    ASSERT_EQ(virDomainReset(domain.get(), 0), 0);
    EXPECT_TRUE(client.sees("web1:reboot"));
    ASSERT_EQ(virDomainDestroy(domain.get()), 0);
    EXPECT_EQ(stateOf(domain), "shutoff.2");
    EXPECT_TRUE(client.sees("web1:stopped.1"));
    EXPECT_THAT(leftovers(), IsEmpty());
    for (auto call : {virDomainSuspend, virDomainResume, virDomainDestroy, virDomainShutdown}) {
        EXPECT_EQ(call(domain.get()), -1);
        EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_INVALID, "not running"));
    }
}

TEST_F(Lifecycle, StartsPausedWhenAsked)
{
    Client client(root());
    auto domain = client.create(domainXml("web1"), VIR_DOMAIN_START_PAUSED);
    ASSERT_TRUE(domain) << lastError();
    EXPECT_EQ(stateOf(domain), "paused.1");
    EXPECT_FALSE(machine("web1")->running());
    ASSERT_EQ(virDomainResume(domain.get()), 0);
    EXPECT_TRUE(machine("web1")->running());
}

TEST_F(Lifecycle, LeavesNothingWhicheverStepOfAStartFails)
{
    for (const char *step : {"create", "describe", "unpause"}) {
        Client client(root());
        world().failNext(step, error("no luck"));
        EXPECT_FALSE(client.create(domainXml("web1"))) << step;
        EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_FAILED, "no luck")) << step;
        EXPECT_EQ(client.names(), "") << step;
        EXPECT_EQ(world().aliveCount(), 0u) << step;
        EXPECT_THAT(leftovers(), IsEmpty()) << step;

        auto domain = client.define(domainXml("web2"));
        world().failNext(step, error("no luck"));
        EXPECT_EQ(virDomainCreate(domain.get()), -1) << step;
        EXPECT_EQ(stateOf(domain).substr(0, 7), "shutoff") << step;
        EXPECT_THAT(leftovers(), IsEmpty()) << step;
        ASSERT_EQ(virDomainCreate(domain.get()), 0) << step << ": " << lastError();
        ASSERT_EQ(virDomainDestroy(domain.get()), 0);
        ASSERT_EQ(virDomainUndefine(domain.get()), 0);
    }
}

TEST_F(Lifecycle, ReportsWhatAGuestDoesByItself)
{
    Client client(root());
    auto domain = client.define(domainXml("web1", "<disk type='file'><source file='/dev/null'/><target dev='vda' "
                                                  "bus='virtio'/></disk>"));
    ASSERT_EQ(virDomainCreate(domain.get()), 0) << lastError();
    machine("web1")->fillDisk("disk0");
    EXPECT_TRUE(client.sees("web1:ioerror disk0 1 enospc"));
    EXPECT_TRUE(client.sees("web1:suspended.2"));
    EXPECT_EQ(stateOf(domain), "paused.5");
    ASSERT_EQ(virDomainResume(domain.get()), 0);
    ASSERT_EQ(virDomainShutdown(domain.get()), 0);
    EXPECT_TRUE(client.sees("web1:shutdown"));
    EXPECT_TRUE(client.sees("web1:stopped.0"));
    EXPECT_EQ(stateOf(domain), "shutoff.1");
    EXPECT_THAT(leftovers(), IsEmpty());
}

TEST_F(Lifecycle, ReportsACrashAndForgetsATransientDomain)
{
    Client client(root());
    ASSERT_TRUE(client.create(domainXml("web1")));
    auto kept = client.define(domainXml("web2"));
    ASSERT_EQ(virDomainCreate(kept.get()), 0);
    machine("web1")->crash();
    machine("web2")->crash();
    EXPECT_TRUE(client.sees("web1:stopped.2"));
    EXPECT_TRUE(client.sees("web2:stopped.2"));
    EXPECT_EQ(client.names(), "web2");
    EXPECT_EQ(stateOf(kept), "shutoff.3");
    EXPECT_THAT(leftovers(), IsEmpty());
}

TEST_F(Lifecycle, GuestsOutliveTheirHostAndAreAdopted)
{
    {
        Client client(root());
        ASSERT_TRUE(client.create(domainXml("web1")));
        auto paused = client.define(domainXml("web2"));
        ASSERT_EQ(virDomainCreateWithFlags(paused.get(), VIR_DOMAIN_START_PAUSED), 0);
        auto doomed = client.define(domainXml("web3"));
        ASSERT_EQ(virDomainCreate(doomed.get()), 0);
        ASSERT_TRUE(client.create(domainXml("web4")));
    }
    EXPECT_EQ(world().aliveCount(), 4u);
    machine("web3")->crash();
    machine("web4")->crash();

    Client client(root());
    EXPECT_EQ(client.names(), "web1 web2 web3");
    auto running = client.lookup("web1");
    EXPECT_EQ(stateOf(running), "running.1");
    EXPECT_EQ(stateOf(client.lookup("web2")), "paused.1");
    EXPECT_EQ(stateOf(client.lookup("web3")), "shutoff.3");
    EXPECT_EQ(world().count("create"), 4u);
    machine("web1")->crash();
    EXPECT_TRUE(client.sees("web1:stopped.2")) << "an adopted guest is watched";
    EXPECT_EQ(client.names(), "web2 web3");
}

TEST_F(Lifecycle, NumbersAreNotUsedTwice)
{
    unsigned first = 0;
    {
        Client client(root());
        first = virDomainGetID(client.create(domainXml("web1")).get());
    }
    Client client(root());
    EXPECT_GT(virDomainGetID(client.create(domainXml("web2")).get()), first);
}

TEST_F(Lifecycle, AutodestroyEndsADomainWithItsConnection)
{
    Client watcher(root());
    {
        Client client(root());
        ASSERT_TRUE(client.create(domainXml("web1"), VIR_DOMAIN_START_AUTODESTROY));
        ASSERT_TRUE(client.create(domainXml("web2")));
    }
    EXPECT_TRUE(watcher.sees("web1:stopped.1"));
    EXPECT_EQ(watcher.names(), "web2");
    EXPECT_EQ(world().aliveCount(), 1u);
}

TEST_F(Lifecycle, TwoHostsOfOneProcessKnowNothingOfEachOther)
{
    Client a(root("a"));
    Client b(root("b"));
    ASSERT_TRUE(a.create(domainXml("web1")));
    ASSERT_TRUE(b.create(domainXml("web1"))) << lastError();
    ASSERT_EQ(virDomainDestroy(a.lookup("web1").get()), 0);
    EXPECT_EQ(a.names(), "");
    EXPECT_EQ(b.names(), "web1");
}

TEST_F(Lifecycle, ASecondProcessIsToldWhoHoldsTheRoot)
{
    Client client(root());
    const pid_t child = fork();
    if (child == 0) {
        // Only what is safe after a fork: another program with a host of its own.
        execl("/proc/self/exe", "driver_test", "--gtest_filter=Holder.DISABLED_Opens", "--gtest_also_run_disabled_tests",
              ("--root=" + root()).c_str(), nullptr);
        _exit(127);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(WEXITSTATUS(status), 0);
}

/// Not a test of its own: the second process of the one above.
TEST(Holder, DISABLED_Opens)
{
    const std::string argument = testing::internal::GetArgvs().back();
    ASSERT_TRUE(argument.starts_with("--root=")) << argument;
    Client client(argument.substr(7));
    EXPECT_FALSE(client);
    EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_FAILED, "in use by process " + std::to_string(getppid())));
}

TEST_F(Lifecycle, EmbedModeNeedsAnAbsoluteRoot)
{
    EXPECT_EQ(virConnectOpen("godwit:///embed?root=relative"), nullptr);
    EXPECT_EQ(virConnectOpen("godwit:///embed"), nullptr);
    EXPECT_EQ(virConnectOpen("godwit:///system"), nullptr);
}

} // namespace godwit::tests
