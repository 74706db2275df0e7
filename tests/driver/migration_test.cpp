// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/strprintf.h"
#include "tests/driver/two_hosts.h"

#include <future>
#include <map>

namespace godwit::tests {

using testing::HasSubstr;
using testing::IsEmpty;

class Migration : public TwoHosts
{
protected:
    /// Migrate by libvirt's client, over TCP; to host b unless another is named.
    DomainHandle migrate(const DomainHandle &domain, unsigned flags = VIR_MIGRATE_LIVE,
                         const std::map<std::string, std::string> &more = {}, Client *to = nullptr)
    {
        std::map<std::string, std::string> all = {{VIR_MIGRATE_PARAM_URI, "tcp://127.0.0.1"}};
        for (const auto &[name, value] : more)
            all[name] = value;
        virTypedParameterPtr params = nullptr;
        int count = 0;
        int room = 0;
        for (const auto &[name, value] : all)
            EXPECT_EQ(virTypedParamsAddString(&params, &count, &room, name.c_str(), value.c_str()), 0);
        DomainHandle moved(virDomainMigrate3(domain.get(), to ? *to : b, params, static_cast<unsigned>(count), flags));
        virTypedParamsFree(params, count);
        return moved;
    }
};

TEST_F(Migration, MovesARunningGuest)
{
    auto domain = start();
    auto moved = migrate(domain);
    ASSERT_TRUE(moved) << lastError();
    EXPECT_EQ(stateOf(domain), "shutoff.4");
    EXPECT_TRUE(a.sees("web1:suspended.1"));
    EXPECT_TRUE(a.sees("web1:stopped.3"));
    EXPECT_TRUE(b.sees("web1:started.1"));
    EXPECT_TRUE(b.sees("web1:resumed.1"));
    EXPECT_EQ(stateOf(moved), "running.2");
    EXPECT_TRUE(machine("web1", "b")->running());
    EXPECT_EQ(machine("web1", "b")->memory(), "what the guest remembers");
    EXPECT_EQ(virDomainIsPersistent(moved.get()), 0);
    EXPECT_EQ(world().aliveCount(), 1u);
    EXPECT_THAT(leftovers("a"), IsEmpty());
}

TEST_F(Migration, TellsBothSidesHowItWent)
{
    auto domain = start();
    auto moved = migrate(domain);
    ASSERT_TRUE(moved) << lastError();
    EXPECT_TRUE(a.sees(base::strprintf("web1:job %d", VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT)));
    EXPECT_TRUE(b.sees(base::strprintf("web1:job %d", VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN)));
    for (const DomainHandle &side : {std::cref(domain), std::cref(moved)}) {
        const Stats stats(side, VIR_DOMAIN_JOB_STATS_COMPLETED);
        EXPECT_EQ(stats.type, VIR_DOMAIN_JOB_COMPLETED);
        EXPECT_NE(stats[VIR_DOMAIN_JOB_DOWNTIME], ~0ull);
        EXPECT_GE(stats[VIR_DOMAIN_JOB_DOWNTIME], 3u) << "what the transfer took of it";
    }
}

TEST_F(Migration, ThereAndBackAgain)
{
    auto domain = start();
    auto moved = migrate(domain, VIR_MIGRATE_LIVE | VIR_MIGRATE_PERSIST_DEST | VIR_MIGRATE_UNDEFINE_SOURCE);
    ASSERT_TRUE(moved) << lastError();
    EXPECT_EQ(a.names(), "");
    EXPECT_TRUE(b.sees("web1:defined"));
    EXPECT_EQ(virDomainIsPersistent(moved.get()), 1);
    EXPECT_TRUE(exists(root("b") + "/etc/godwit/web1.xml"));
    auto back = migrate(moved, VIR_MIGRATE_LIVE, {}, &a);
    ASSERT_TRUE(back) << lastError();
    EXPECT_EQ(stateOf(back), "running.2");
    EXPECT_EQ(machine("web1", "a")->memory(), "what the guest remembers");
    EXPECT_EQ(stateOf(moved), "shutoff.4");
}

TEST_F(Migration, GivesAnotherNameAndDefinition)
{
    auto domain = start();
    auto moved = migrate(domain, VIR_MIGRATE_LIVE | VIR_MIGRATE_PERSIST_DEST,
                         {{VIR_MIGRATE_PARAM_DEST_NAME, "web2"},
                          {VIR_MIGRATE_PARAM_DEST_XML, domainXml("web1", "", "<title>live</title>")},
                          {VIR_MIGRATE_PARAM_PERSIST_XML, domainXml("web1", "", "<title>later</title>")}});
    ASSERT_TRUE(moved) << lastError();
    EXPECT_STREQ(virDomainGetName(moved.get()), "web2");
    EXPECT_EQ(b.names(), "web2");
    EXPECT_THAT(xmlOf(moved), HasSubstr("live"));
    EXPECT_THAT(xmlOf(moved, VIR_DOMAIN_XML_INACTIVE), HasSubstr("later"));
}

TEST_F(Migration, LeavesAGuestPausedWhereAsked)
{
    auto domain = start();
    auto moved = migrate(domain, VIR_MIGRATE_LIVE | VIR_MIGRATE_PAUSED);
    ASSERT_TRUE(moved) << lastError();
    EXPECT_EQ(stateOf(moved).substr(0, 6), "paused");
    EXPECT_FALSE(machine("web1", "b")->running());
}

TEST_F(Migration, MovesAPausedGuestPaused)
{
    auto domain = start(VIR_DOMAIN_START_PAUSED);
    auto moved = migrate(domain, 0);
    ASSERT_TRUE(moved) << lastError();
    EXPECT_EQ(stateOf(moved).substr(0, 6), "paused");
    EXPECT_EQ(machine("web1", "b")->memory(), "what the guest remembers");
}

TEST_F(Migration, LeavesTheGuestRunningWhicheverStepFails)
{
    auto domain = start();
    for (const char *step : {"receive", "describe", "save", "finish", "unpause"}) {
        for (unsigned flags : {VIR_MIGRATE_LIVE, VIR_MIGRATE_PERSIST_DEST}) {
            world().failNext(step, error("no luck"));
            EXPECT_FALSE(migrate(domain, flags)) << step;
            EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_FAILED, "no luck")) << step;
            expectOnlyOnSource(domain, step);
        }
    }
    ASSERT_TRUE(migrate(domain)) << lastError();
}

TEST_F(Migration, RefusesAtOnceWhatTheHostCannotSendLive)
{
    auto domain = start();
    world().failNext("live", error("no dirty pages"));
    EXPECT_FALSE(migrate(domain));
    EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_FAILED, "no dirty pages"));
    EXPECT_EQ(world().count("receive"), 0u);
    expectOnlyOnSource(domain, "live");
}

TEST_F(Migration, AsksNothingOfTheHostForWhatStandsStillOrShall)
{
    auto domain = start(VIR_DOMAIN_START_PAUSED);
    ASSERT_TRUE(migrate(domain, VIR_MIGRATE_LIVE)) << lastError();
    ASSERT_EQ(virDomainDestroy(b.lookup("web1").get()), 0);
    domain = start();
    ASSERT_TRUE(migrate(domain, 0)) << lastError();
    EXPECT_EQ(world().count("live"), 0u);
}

TEST_F(Migration, LeavesAPausedGuestPausedWhicheverStepFails)
{
    auto domain = start(VIR_DOMAIN_START_PAUSED);
    for (const char *step : {"receive", "save", "finish"}) {
        world().failNext(step, error("no luck"));
        EXPECT_FALSE(migrate(domain)) << step;
        EXPECT_EQ(stateOf(domain).substr(0, 6), "paused") << step;
        EXPECT_FALSE(machine("web1", "a")->running()) << step;
        EXPECT_EQ(b.names(), "") << step;
    }
    ASSERT_EQ(virDomainResume(domain.get()), 0) << lastError();
}

TEST_F(Migration, EndsWhenAborted)
{
    auto domain = start();
    world().holdSaves({});
    auto result = std::async(std::launch::async, [&] { return migrate(domain) ? std::string() : lastError(); });
    ASSERT_TRUE(world().waitForHeldSave());
    ASSERT_EQ(virDomainAbortJob(domain.get()), 0) << lastError();
    EXPECT_THAT(result.get(), HasSubstr("abort"));
    world().releaseSaves();
    expectOnlyOnSource(domain, "abort");
}

TEST_F(Migration, EndsAtAnIoErrorOfTheGuestIfThatIsWanted)
{
    auto domain = start();
    for (const bool wanted : {true, false}) {
        world().holdSaves({});
        const unsigned flags = wanted ? VIR_MIGRATE_LIVE | VIR_MIGRATE_ABORT_ON_ERROR : VIR_MIGRATE_LIVE;
        auto result = std::async(std::launch::async,
                                 [&] { return migrate(domain, flags) ? std::string() : lastError(); });
        ASSERT_TRUE(world().waitForHeldSave());
        machine("web1", "a")->fillDisk("disk0");
        ASSERT_TRUE(a.sees("web1:suspended.2"));
        if (!wanted)
            world().releaseSaves();
        EXPECT_THAT(result.get(), HasSubstr(wanted ? "I/O error of disk 'disk0'" : "")) << wanted;
        world().releaseSaves();
        EXPECT_EQ(b.names(), wanted ? "" : "web1") << wanted;
        if (!wanted)
            continue;
        EXPECT_EQ(stateOf(domain), "paused.5") << "it stands still where it was";
        EXPECT_FALSE(migrate(domain, flags)) << "and is not migrated so";
        EXPECT_THAT(lastError(), HasSubstr("I/O error"));
        ASSERT_EQ(virDomainResume(domain.get()), 0) << lastError();
    }
}

TEST_F(Migration, IsSteeredWhileItRuns)
{
    auto domain = start();
    world().holdSaves({});
    auto result = std::async(std::launch::async, [&] { return migrate(domain) != nullptr; });
    ASSERT_TRUE(world().waitForHeldSave());
    EXPECT_EQ(virDomainMigrateSetMaxSpeed(domain.get(), 9, 0), 0) << lastError();
    EXPECT_EQ(machine("web1", "a")->limits().bandwidth, 9u << 20);
    EXPECT_EQ(virDomainSuspend(domain.get()), 0) << "a user may suspend it meanwhile: " << lastError();
    world().releaseSaves();
    EXPECT_TRUE(result.get());
}

TEST_F(Migration, OfAGuestThatDiesMeanwhileLeavesNothing)
{
    auto domain = start();
    world().holdSaves({});
    auto result = std::async(std::launch::async, [&] { return migrate(domain) ? std::string() : lastError(); });
    ASSERT_TRUE(world().waitForHeldSave());
    machine("web1", "a")->crash();
    world().failNext("save", error("the guest is gone"));
    world().releaseSaves();
    EXPECT_NE(result.get(), "");
    EXPECT_TRUE(a.sees("web1:stopped.2"));
    EXPECT_EQ(stateOf(domain), "shutoff.3");
    EXPECT_EQ(b.names(), "");
    EXPECT_THAT(leftovers("b"), IsEmpty());
    ASSERT_EQ(virDomainCreate(domain.get()), 0) << lastError();
}

TEST_F(Migration, RefusesBadUris)
{
    auto domain = start();
    const std::pair<const char *, const char *> uris[] = {
        {"nonsense", "nonsense"},
        {"exec://host", "exec"},
        {"tcp://no-such-host.invalid", "no-such-host.invalid"},
    };
    for (const auto &[uri, message] : uris) {
        EXPECT_FALSE(migrate(domain, VIR_MIGRATE_LIVE, {{VIR_MIGRATE_PARAM_URI, uri}})) << uri;
        EXPECT_THAT(lastError(), HasSubstr(message)) << uri;
        expectOnlyOnSource(domain, uri);
    }
}

TEST_F(Migration, RefusesADestinationThatHasTheGuestAlready)
{
    auto domain = start();
    auto twin = b.create(domainXml("web1"));
    ASSERT_TRUE(twin);
    EXPECT_FALSE(migrate(domain));
    EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_INVALID, "already active"));
    EXPECT_EQ(stateOf(domain), "running.1");
    EXPECT_EQ(stateOf(twin), "running.1");
    EXPECT_FALSE(migrate(domain, VIR_MIGRATE_LIVE, {{VIR_MIGRATE_PARAM_DEST_NAME, "web2"}}));
    EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_FAILED, "already defined"));
    EXPECT_EQ(world().aliveCount(), 2u);
}

TEST_F(Migration, RefusesANameThatIsAPath)
{
    auto domain = start();
    for (const char *name : {"a/b", "../../web2", "two\nlines"}) {
        EXPECT_FALSE(migrate(domain, VIR_MIGRATE_LIVE, {{VIR_MIGRATE_PARAM_DEST_NAME, name}})) << name;
        EXPECT_TRUE(failedWith(VIR_ERR_INVALID_ARG, "cannot contain"));
    }
    EXPECT_EQ(stateOf(domain), "running.1");
    EXPECT_EQ(b.names(), "");
}

TEST_F(Migration, RefusesFlagsThatItDoesNotKnowByName)
{
    auto domain = start();
    EXPECT_FALSE(migrate(domain, VIR_MIGRATE_LIVE | VIR_MIGRATE_POSTCOPY));
    EXPECT_TRUE(failedWith(VIR_ERR_CONFIG_UNSUPPORTED, "post-copy"));
    expectOnlyOnSource(domain, "flags");
}

TEST_F(Migration, NeedsARunningGuest)
{
    auto domain = a.define(domainXml("web1"));
    EXPECT_FALSE(migrate(domain));
    EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_INVALID, "not running"));
    EXPECT_EQ(b.names(), "");
}

} // namespace godwit::tests
