// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/driver/fake_test.h"

#include <future>

namespace godwit::tests {

using testing::IsEmpty;

class LongJob : public FakeHostsTest
{
protected:
    /// A running domain that a save, on a thread of its own, is in the middle of.
    struct Saving {
        DomainHandle domain;
        std::future<int> result;
    };
    Saving startSave(Client &client)
    {
        hypervisor::TransferProgress progress;
        progress.memoryTotal = 1000;
        progress.memoryProcessed = 400;
        progress.memoryRemaining = 600;
        progress.bytesSent = 450;
        progress.bandwidth = 300;
        progress.normalPages = 3;
        progress.constantPages = 5;
        progress.iteration = 2;
        progress.dirtyPagesPerSecond = 9;
        progress.expectedDowntime = 77;
        world().holdSaves(progress);
        auto domain = client.define(domainXml("web1"));
        EXPECT_EQ(virDomainCreate(domain.get()), 0) << lastError();
        auto result = std::async(std::launch::async,
                                 [handle = domain.get(), path = image()] { return virDomainSave(handle, path.c_str()); });
        EXPECT_TRUE(world().waitForHeldSave());
        return {std::move(domain), std::move(result)};
    }
    std::string image() const { return base() + "/image"; }
};

/// Typed parameters that free themselves.
TEST_F(LongJob, OneMoreThanMayRunAtOnceIsRefusedByName)
{
    std::filesystem::create_directories(root() + "/etc");
    writeFile(root() + "/etc/godwit.conf", "max_transfers = 1\n");
    Client client(root());
    auto saving = startSave(client);
    auto second = client.define(domainXml("web2"));
    ASSERT_EQ(virDomainCreate(second.get()), 0) << "a start is none: " << lastError();
    EXPECT_EQ(virDomainSave(second.get(), (base() + "/second").c_str()), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_FAILED, "web2"));
    EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_FAILED, "max_transfers"));
    EXPECT_EQ(stateOf(second), "running.1");
    EXPECT_FALSE(exists(base() + "/second"));
    world().releaseSaves();
    ASSERT_EQ(saving.result.get(), 0);
    EXPECT_EQ(virDomainSave(second.get(), (base() + "/second").c_str()), 0) << lastError();
}

TEST_F(LongJob, ShowsItsProgress)
{
    Client client(root());
    auto [domain, result] = startSave(client);
    virDomainJobInfo info;
    ASSERT_EQ(virDomainGetJobInfo(domain.get(), &info), 0);
    EXPECT_EQ(info.type, VIR_DOMAIN_JOB_UNBOUNDED);
    EXPECT_EQ(info.memTotal, 1000u);
    EXPECT_EQ(info.dataRemaining, 600u);
    EXPECT_EQ(info.timeRemaining, 2000u);
    Stats stats(domain, 0);
    EXPECT_EQ(stats.type, VIR_DOMAIN_JOB_UNBOUNDED);
    EXPECT_EQ(stats[VIR_DOMAIN_JOB_MEMORY_PROCESSED], 400u);
    EXPECT_EQ(stats[VIR_DOMAIN_JOB_DATA_PROCESSED], 450u);
    EXPECT_EQ(stats[VIR_DOMAIN_JOB_MEMORY_CONSTANT], 5u);
    EXPECT_EQ(stats[VIR_DOMAIN_JOB_MEMORY_NORMAL_BYTES], 3u * 4096);
    EXPECT_EQ(stats[VIR_DOMAIN_JOB_MEMORY_BPS], 300u);
    EXPECT_EQ(stats[VIR_DOMAIN_JOB_MEMORY_ITERATION], 2u);
    EXPECT_EQ(stats[VIR_DOMAIN_JOB_MEMORY_DIRTY_RATE], 9u);
    EXPECT_EQ(stats[VIR_DOMAIN_JOB_MEMORY_PAGE_SIZE], 4096u);
    EXPECT_EQ(stats[VIR_DOMAIN_JOB_DOWNTIME], 77u);
    int operation = -1;
    EXPECT_EQ(virTypedParamsGetInt(stats.params, stats.count, VIR_DOMAIN_JOB_OPERATION, &operation), 1);
    EXPECT_EQ(operation, VIR_DOMAIN_JOB_OPERATION_SAVE);
    virDomainControlInfo control;
    ASSERT_EQ(virDomainGetControlInfo(domain.get(), &control, 0), 0);
    EXPECT_EQ(control.state, static_cast<unsigned>(VIR_DOMAIN_CONTROL_JOB));
    world().releaseSaves();
    EXPECT_EQ(result.get(), 0) << lastError();
}

TEST_F(LongJob, LeavesItsFiguresBehind)
{
    Client client(root());
    auto [domain, result] = startSave(client);
    world().releaseSaves();
    ASSERT_EQ(result.get(), 0);
    EXPECT_EQ(Stats(domain, 0).type, VIR_DOMAIN_JOB_NONE);
    {
        Stats kept(domain, VIR_DOMAIN_JOB_STATS_COMPLETED | VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED);
        EXPECT_EQ(kept.type, VIR_DOMAIN_JOB_COMPLETED);
        EXPECT_EQ(kept[VIR_DOMAIN_JOB_DOWNTIME], 3u);
        EXPECT_NE(kept[VIR_DOMAIN_JOB_TIME_ELAPSED], ~0ull);
    }
    EXPECT_EQ(Stats(domain, VIR_DOMAIN_JOB_STATS_COMPLETED).type, VIR_DOMAIN_JOB_COMPLETED);
    EXPECT_EQ(Stats(domain, VIR_DOMAIN_JOB_STATS_COMPLETED).type, VIR_DOMAIN_JOB_NONE) << "told once";
}

TEST_F(LongJob, EndsWhenAbortedAndTheGuestGoesOn)
{
    Client client(root());
    auto [domain, result] = startSave(client);
    EXPECT_EQ(stateOf(domain), "paused.3");
    ASSERT_EQ(virDomainAbortJob(domain.get()), 0) << lastError();
    EXPECT_EQ(result.get(), -1);
    EXPECT_EQ(stateOf(domain), "running.7");
    EXPECT_FALSE(exists(image()));
    EXPECT_EQ(Stats(domain, VIR_DOMAIN_JOB_STATS_COMPLETED).type, VIR_DOMAIN_JOB_CANCELLED);
    EXPECT_EQ(virDomainAbortJob(domain.get()), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_INVALID, "no job"));
}

TEST_F(LongJob, LetsQueriesAndDestructionThrough)
{
    Client client(root());
    auto [domain, result] = startSave(client);
    virDomainInfo info;
    EXPECT_EQ(virDomainGetInfo(domain.get(), &info), 0);
    virDomainMemoryStatStruct stats[4];
    EXPECT_GE(virDomainMemoryStats(domain.get(), stats, 4, 0), 1) << lastError();
    virDomainStatsRecordPtr *records = nullptr;
    EXPECT_EQ(virConnectGetAllDomainStats(client, 0, &records, VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT), 1);
    virDomainStatsRecordListFree(records);
    ASSERT_EQ(virDomainDestroy(domain.get()), 0) << lastError();
    EXPECT_EQ(result.get(), -1);
    EXPECT_EQ(stateOf(domain).substr(0, 7), "shutoff");
    EXPECT_EQ(world().aliveCount(), 0u);
    EXPECT_THAT(leftovers(), IsEmpty());
}

TEST_F(LongJob, TakesNewLimitsWhileItRuns)
{
    Client client(root());
    auto [domain, result] = startSave(client);
    ASSERT_EQ(virDomainMigrateSetMaxSpeed(domain.get(), 7, 0), 0) << lastError();
    EXPECT_EQ(machine("web1")->limits().bandwidth, 7u << 20);
    ASSERT_EQ(virDomainMigrateSetMaxDowntime(domain.get(), 55, 0), 0) << lastError();
    EXPECT_EQ(machine("web1")->limits().downtime.count(), 55);
    unsigned long speed = 0;
    unsigned long long downtime = 0;
    EXPECT_EQ(virDomainMigrateGetMaxSpeed(domain.get(), &speed, 0), 0);
    EXPECT_EQ(speed, 7u);
    EXPECT_EQ(virDomainMigrateGetMaxDowntime(domain.get(), &downtime, 0), 0);
    EXPECT_EQ(downtime, 55u);
    EXPECT_EQ(virDomainMigrateSetMaxDowntime(domain.get(), 0, 0), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_INVALID_ARG));
    world().releaseSaves();
    EXPECT_EQ(result.get(), 0);
}

} // namespace godwit::tests
