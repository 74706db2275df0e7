// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/host.h"
#include "domain/job.h"
#include "domain/lifecycle.h"
#include "tests/domain/fake_world.h"

#include <filesystem>
#include <fstream>
#include <future>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace godwit::domain {

using base::ErrorCode;
using base::makeError;
using testing::HasSubstr;
using tests::FakeWorld;

/// One Host with a running domain `web1` and no client.
class DomainTest : public testing::Test
{
protected:
    DomainTest()
    {
        FakeWorld::get().reset();
        virInitialize();
        char path[] = "/tmp/godwit-domain-XXXXXX";
        root_ = mkdtemp(path);
        host_ = open();
    }
    ~DomainTest() override
    {
        host_.reset();
        std::filesystem::remove_all(root_);
    }
    std::shared_ptr<Host> open()
    {
        auto settings = conf::Settings::forEmbed(root_);
        auto host = Host::open(std::move(settings).value(), nullptr);
        EXPECT_TRUE(host) << host.error().message;
        return host ? *host : nullptr;
    }
    Domain started(const char *name = "web1")
    {
        const std::string xml = std::string("<domain type='qemu'><name>") + name +
                                "</name><memory>65536</memory><os><type arch='x86_64'>hvm</type></os></domain>";
        auto def = host_->parse(xml.c_str(), VIR_DOMAIN_DEF_PARSE_INACTIVE);
        EXPECT_TRUE(def) << def.error().message;
        Domain domain = std::move(addDomain(*host_, std::move(def).value(), VIR_DOMAIN_OBJ_LIST_ADD_LIVE)).value();
        EXPECT_TRUE(startDomain(domain, false));
        return domain;
    }
    /// What the guest told so far has come to the worker, and is done there.
    void settle(Domain &domain)
    {
        domain.unlocked([&] {
            FakeWorld::get().drain();
            waitForWorker();
        });
    }
    void waitForWorker()
    {
        std::promise<void> done;
        host_->post([&] { done.set_value(); });
        done.get_future().wait();
    }

    std::string root_;
    std::shared_ptr<Host> host_;
};

TEST_F(DomainTest, EventsOfAnOlderIncarnationAreNoNewsOfThisOne)
{
    Domain domain = started();
    domain.object()->persistent = 1;
    auto late = domain.data().events;
    ASSERT_TRUE(destroyDomain(domain, false, VIR_DOMAIN_SHUTOFF_DESTROYED, VIR_DOMAIN_EVENT_STOPPED_DESTROYED));
    ASSERT_TRUE(startDomain(domain, false));
    domain.unlocked([&] {
        late->guestDied(hypervisor::DeathCause::Crashed);
        late->guestPaused(hypervisor::StopCause::IoError);
    });
    settle(domain);
    EXPECT_EQ(domain.state(), VIR_DOMAIN_RUNNING);
    domain.unlocked([events = domain.data().events] { events->guestDied(hypervisor::DeathCause::Crashed); });
    settle(domain);
    int reason = 0;
    EXPECT_EQ(domain.state(&reason), VIR_DOMAIN_SHUTOFF);
    EXPECT_EQ(reason, VIR_DOMAIN_SHUTOFF_CRASHED);
}

TEST_F(DomainTest, StopsThatWereAskedForAreNotNews)
{
    using hypervisor::StopCause;
    Domain domain = started();
    const std::pair<StopCause, int> causes[] = {
        {StopCause::User, VIR_DOMAIN_RUNNING_BOOTED},
        {StopCause::Saving, VIR_DOMAIN_RUNNING_BOOTED},
        {StopCause::Migrating, VIR_DOMAIN_RUNNING_BOOTED},
        {StopCause::Rebooting, VIR_DOMAIN_RUNNING_BOOTED},
        {StopCause::IoError, VIR_DOMAIN_PAUSED_IOERROR},
        {StopCause::Watchdog, VIR_DOMAIN_PAUSED_WATCHDOG},
        {StopCause::Panicked, VIR_DOMAIN_PAUSED_CRASHED},
        {StopCause::ShuttingDown, VIR_DOMAIN_PAUSED_SHUTTING_DOWN},
        {StopCause::Unknown, VIR_DOMAIN_PAUSED_UNKNOWN},
    };
    for (const auto &[cause, expected] : causes) {
        ASSERT_TRUE(domain.data().guest->unpause());
        domain.setState(VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_BOOTED, 0, 0);
        FakeWorld::get().machine(root_, "web1")->stop(cause);
        settle(domain);
        int reason = 0;
        const bool asked = expected == VIR_DOMAIN_RUNNING_BOOTED;
        EXPECT_EQ(domain.state(&reason), asked ? VIR_DOMAIN_RUNNING : VIR_DOMAIN_PAUSED);
        EXPECT_EQ(reason, expected);
    }
}

TEST_F(DomainTest, AStopBeforeAnybodySaidThatItRunsIsToldThen)
{
    using hypervisor::StopCause;
    Domain domain = started();
    const auto letRun = [&](std::optional<StopCause> thenStopped) {
        domain.setState(VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_USER, 0, 0);
        ASSERT_TRUE(domain.data().guest->unpause());
        if (thenStopped)
            FakeWorld::get().machine(root_, "web1")->stop(*thenStopped);
        settle(domain);
        int reason = 0;
        EXPECT_EQ(domain.state(&reason), VIR_DOMAIN_PAUSED);
        EXPECT_EQ(reason, VIR_DOMAIN_PAUSED_USER);
        domain.setState(VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_UNPAUSED, 0, 0);
    };
    letRun(StopCause::IoError);
    int reason = 0;
    EXPECT_EQ(domain.state(&reason), VIR_DOMAIN_PAUSED);
    EXPECT_EQ(reason, VIR_DOMAIN_PAUSED_IOERROR);
    letRun(std::nullopt);   // it is not told twice
    EXPECT_EQ(domain.state(), VIR_DOMAIN_RUNNING);
    letRun(StopCause::User);
    EXPECT_EQ(domain.state(), VIR_DOMAIN_RUNNING) << "who asked for it says so";
}

TEST_F(DomainTest, AStopIsToldOnceMoreToWhoSaysLateThatItRuns)
{
    using hypervisor::StopCause;
    Domain domain = started();
    const auto expectIoError = [&] {
        int reason = 0;
        EXPECT_EQ(domain.state(&reason), VIR_DOMAIN_PAUSED);
        EXPECT_EQ(reason, VIR_DOMAIN_PAUSED_IOERROR);
    };
    const auto stop = [&] {
        FakeWorld::get().machine(root_, "web1")->stop(StopCause::IoError);
        settle(domain);
        expectIoError();
    };
    stop();
    ASSERT_TRUE(domain.data().guest->unpause());
    settle(domain);
    EXPECT_EQ(domain.state(), VIR_DOMAIN_RUNNING) << "the guest itself said so";
    stop();
    domain.setState(VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_UNPAUSED, 0, 0);   // whoever resumed it
    expectIoError();
}

TEST_F(DomainTest, AGuestThatCannotBeEndedIsStillWatched)
{
    Domain domain = started();
    FakeWorld::get().failNext("destroy", makeError(ErrorCode::TimedOut, "it hangs"));
    EXPECT_FALSE(destroyDomain(domain, false, VIR_DOMAIN_SHUTOFF_DESTROYED, VIR_DOMAIN_EVENT_STOPPED_DESTROYED));
    EXPECT_TRUE(domain.active());
    ASSERT_TRUE(domain.data().events);
    domain.unlocked([events = domain.data().events] { events->guestDied(hypervisor::DeathCause::Crashed); });
    settle(domain);
    EXPECT_FALSE(domain.active());
}

TEST_F(DomainTest, EndingTwiceIsSafe)
{
    Domain domain = started();
    for (int i = 0; i < 2; i++)
        endDomain(domain, VIR_DOMAIN_SHUTOFF_CRASHED, VIR_DOMAIN_EVENT_STOPPED_CRASHED);
    EXPECT_TRUE(host_->allDomains().empty());
}

TEST_F(DomainTest, JobsExcludeEachOther)
{
    Domain domain = started();
    {
        auto job = Job::begin(domain, VIR_JOB_MODIFY);
        ASSERT_TRUE(job);
        EXPECT_FALSE(Job::beginNowait(domain, VIR_JOB_QUERY));
    }
    EXPECT_TRUE(Job::beginNowait(domain, VIR_JOB_QUERY));
}

TEST_F(DomainTest, ALongJobLetsQueriesAndAbortThroughButNoChange)
{
    Domain domain = started();
    auto job = AsyncJob::begin(domain, VIR_ASYNC_JOB_SAVE, VIR_DOMAIN_JOB_OPERATION_SAVE, 0);
    ASSERT_TRUE(job);
    for (virDomainJob allowed : {VIR_JOB_QUERY, VIR_JOB_ABORT, VIR_JOB_DESTROY, VIR_JOB_SUSPEND, VIR_JOB_MIGRATION_OP})
        EXPECT_TRUE(Job::beginNowait(domain, allowed)) << allowed;
    EXPECT_FALSE(Job::beginNowait(domain, VIR_JOB_MODIFY));
}

TEST_F(DomainTest, ALongJobIsTakenUpAgainByItsNextPhase)
{
    Domain domain = started();
    EXPECT_FALSE(AsyncJob::resume(domain, VIR_ASYNC_JOB_MIGRATION_OUT));
    {
        auto job = AsyncJob::begin(domain, VIR_ASYNC_JOB_MIGRATION_OUT, VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT, 0);
        ASSERT_TRUE(job);
        (*job)->keep();
    }
    EXPECT_EQ(domain.object()->job->asyncJob, VIR_ASYNC_JOB_MIGRATION_OUT);
    EXPECT_FALSE(AsyncJob::resume(domain, VIR_ASYNC_JOB_SAVE));
    {
        auto job = AsyncJob::resume(domain, VIR_ASYNC_JOB_MIGRATION_OUT);
        ASSERT_TRUE(job);
        (*job)->fail(makeError(ErrorCode::Aborted, "enough"));
    }
    EXPECT_EQ(domain.object()->job->asyncJob, VIR_ASYNC_JOB_NONE);
    ASSERT_NE(domain.object()->job->completed, nullptr);
    EXPECT_EQ(domain.object()->job->completed->status, VIR_DOMAIN_JOB_STATUS_CANCELED);
    EXPECT_STREQ(domain.object()->job->completed->errmsg, "enough");
}

TEST_F(DomainTest, ProgressBecomesTheJobsData)
{
    Domain domain = started();
    auto job = AsyncJob::begin(domain, VIR_ASYNC_JOB_MIGRATION_OUT, VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT, 0);
    ASSERT_TRUE(job);
    hypervisor::TransferProgress progress;
    progress.memoryRemaining = 42;
    domain.unlocked([&] { (*job)->transferProgress(progress); });
    EXPECT_EQ(domain.object()->job->current->status, VIR_DOMAIN_JOB_STATUS_MIGRATING);
    EXPECT_EQ(progressOf(domain.object()->job->current).memoryRemaining, 42u);
    progress.memoryRemaining = 0;
    (*job)->complete(progress);
    EXPECT_EQ(progressOf(domain.object()->job->completed).memoryRemaining, 0u);
}

TEST_F(DomainTest, NoMoreTransfersAtOnceThanTheSettingsAllow)
{
    const unsigned limit = host_->settings().maxTransfers;
    std::vector<TransferSlot> slots;
    for (unsigned i = 0; i < limit; i++) {
        auto slot = host_->takeTransferSlot("web" + std::to_string(i));
        ASSERT_TRUE(slot) << i;
        slots.push_back(std::move(slot).value());
    }
    auto refused = host_->takeTransferSlot("one-more");
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message, HasSubstr("one-more"));
    EXPECT_THAT(refused.error().message, HasSubstr("max_transfers"));
    slots.pop_back();
    EXPECT_TRUE(host_->takeTransferSlot("one-more"));
}

TEST_F(DomainTest, ALongJobThatMovesMemoryTakesOneOfTheTransfersUntilItEnds)
{
    Domain domain = started();
    const auto isFree = [&] {
        std::vector<TransferSlot> slots;
        for (unsigned i = 0; i < host_->settings().maxTransfers; i++) {
            auto slot = host_->takeTransferSlot("other");
            if (!slot)
                return false;
            slots.push_back(std::move(slot).value());
        }
        return true;
    };
    {
        auto job = AsyncJob::begin(domain, VIR_ASYNC_JOB_MIGRATION_OUT, VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT, 0);
        ASSERT_TRUE(job);
        EXPECT_FALSE(isFree());
        (*job)->keep();
    }
    EXPECT_FALSE(isFree()) << "between two phases";
    (void)AsyncJob::resume(domain, VIR_ASYNC_JOB_MIGRATION_OUT).has_value();
    EXPECT_TRUE(isFree());
    auto job = AsyncJob::begin(domain, VIR_ASYNC_JOB_START, VIR_DOMAIN_JOB_OPERATION_START, 0);
    ASSERT_TRUE(job);
    EXPECT_TRUE(isFree()) << "a start moves no memory";
}

TEST_F(DomainTest, AStartThatFailsHoldsNothing)
{
    for (const char *step : {"create", "describe", "unpause"}) {
        auto def = host_->parse("<domain type='qemu'><name>web2</name><memory>65536</memory>"
                                "<os><type arch='x86_64'>hvm</type></os></domain>",
                                VIR_DOMAIN_DEF_PARSE_INACTIVE);
        Domain domain = std::move(addDomain(*host_, std::move(def).value(), VIR_DOMAIN_OBJ_LIST_ADD_LIVE)).value();
        FakeWorld::get().failNext(step, makeError(ErrorCode::OperationFailed, "no luck"));
        auto result = startDomain(domain, false);
        ASSERT_FALSE(result) << step;
        EXPECT_THAT(result.error().message, HasSubstr("no luck")) << step;
        EXPECT_FALSE(domain.data().guest) << step;
        EXPECT_FALSE(domain.data().events) << step;
        EXPECT_FALSE(std::filesystem::exists(host_->guestDir(domain.def()))) << step;
        dropLiveDefinition(domain);
    }
    EXPECT_TRUE(host_->allDomains().empty());
    EXPECT_EQ(FakeWorld::get().aliveCount(), 0u);
}

TEST_F(DomainTest, AutostartIsTakenOncePerRootAndBoot)
{
    EXPECT_TRUE(host_->takeAutostart());
    EXPECT_FALSE(host_->takeAutostart());
    host_.reset();
    host_ = open();
    EXPECT_FALSE(host_->takeAutostart());
}

TEST_F(DomainTest, ARootIsLockedAndItsHolderNamed)
{
    auto second = Host::open(conf::Settings(host_->settings()), nullptr);
    ASSERT_FALSE(second);
    EXPECT_THAT(second.error().message, HasSubstr("in use by process " + std::to_string(getpid())));
    EXPECT_THAT(second.error().message, HasSubstr(root_));
}

TEST_F(DomainTest, ADirectoryThatCannotBeMadeIsNamed)
{
    conf::Settings settings = host_->settings();
    settings.logDir = root_ + "/file/log";
    std::ofstream(root_ + "/file") << "in the way";
    host_.reset();
    auto host = Host::open(std::move(settings), nullptr);
    ASSERT_FALSE(host);
    EXPECT_THAT(host.error().message, HasSubstr(root_ + "/file/log"));
}

TEST_F(DomainTest, TheInhibitorHoldsWhileGuestsRun)
{
    conf::Settings settings = host_->settings();
    host_.reset();
    std::vector<bool> held;
    host_ = *Host::open(std::move(settings), [&](bool hold) { held.push_back(hold); });
    for (const char *name : {"a", "b"})
        started(name);   // unlocked at once: nobody holds two domains
    waitForWorker();
    EXPECT_EQ(held, std::vector<bool>{true});
    for (const char *name : {"a", "b"}) {
        EXPECT_EQ(held, std::vector<bool>{true});
        auto domain = Domain::byName(*host_, name);
        ASSERT_TRUE(domain);
        endDomain(*domain, VIR_DOMAIN_SHUTOFF_CRASHED, VIR_DOMAIN_EVENT_STOPPED_CRASHED);
    }
    waitForWorker();
    EXPECT_EQ(held, (std::vector<bool>{true, false}));
}

} // namespace godwit::domain
