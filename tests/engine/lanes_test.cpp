// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/lanes.h"

#include "engine/restore.h"
#include "engine/save.h"
#include "stream/stripes.h"
#include "tests/engine/test_guest.h"
#include "tests/engine/test_host.h"

#include <atomic>
#include <csignal>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <latch>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

using namespace godwit::base;
using namespace godwit::engine;
using namespace godwit::tests;
using godwit::stream::FdSink;
using godwit::stream::FdSource;
using godwit::stream::Stripe;

TEST(Lanes, AreAllWorkedOnAtTheSameTime)
{
    std::latch together(5);
    std::atomic<unsigned> done{0};
    EXPECT_TRUE(runLanes(5, [&](size_t lane) -> Result<void> {
        together.arrive_and_wait();
        done += 1u << lane;
        return {};
    }, {}));
    EXPECT_EQ(done, 31u);
}

TEST(Lanes, AreInterruptedByTheFirstFailureWhichIsTheResult)
{
    for (size_t failing = 0; failing < 4; failing++) {
        std::latch interrupted(1);
        std::atomic<int> interrupts{0};
        const auto done = runLanes(4, [&](size_t lane) -> Result<void> {
            if (lane == failing)
                return makeError(ErrorCode::System, "lane %zu", lane);
            interrupted.wait();
            return makeError(ErrorCode::Aborted, "interrupted");
        }, [&] {
            interrupts++;
            interrupted.count_down();
        });
        ASSERT_FALSE(done);
        EXPECT_EQ(done.error().message, "lane " + std::to_string(failing));
        EXPECT_EQ(interrupts, 1);
    }
}

TEST(Stripes, GiveEachPageToExactlyOneConnection)
{
    for (size_t count : {1u, 2u, 3u, 32u}) {
        for (uint64_t pfn = 0; pfn < 5000; pfn++) {
            size_t owners = 0;
            for (size_t index = 0; index < count; index++)
                owners += Stripe{index, count}.has(Pfn{pfn}) ? 1 : 0;
            ASSERT_EQ(owners, 1u) << pfn;
            const uint64_t left = Stripe::leftFrom(Pfn{pfn});
            ASSERT_EQ((pfn + left) % godwit::stream::stripePages, 0u);
        }
    }
}

namespace {

constexpr uint64_t memoryPages = 4096;

/// Reads with pauses, so that its lane lags behind the others.
class LateSource : public FdSource
{
public:
    LateSource(int fd, std::chrono::microseconds delay) : FdSource(fd), delay_(delay) {}

protected:
    Result<size_t> readSome(std::span<const iovec> parts) override
    {
        std::this_thread::sleep_for(delay_);
        return FdSource::readSome(parts);
    }

private:
    std::chrono::microseconds delay_;
};

/// A guest moved over `count` lanes, each a socket pair; both ends in this process.
struct Migration {
    explicit Migration(size_t count)
    {
        std::signal(SIGPIPE, SIG_IGN);
        pipe = host.makePipe();
        host.meter = &meter;
        for (size_t lane = 0; lane < count; lane++) {
            int ends[2];
            EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
            sourceFds.emplace_back(ends[0]);
            destinationFds.emplace_back(ends[1]);
            sinks.push_back(std::make_unique<FdSink>(ends[0]));
            sources.push_back(std::make_unique<FdSource>(ends[1]));
        }
    }
    static MemoryMap map(const UniqueFd &ram)
    {
        // The second region begins neither on a stripe's border nor on a word's of a PageSet.
        return MemoryMap::make(ram.get(), {{Pfn{0}, 0, 1000}, {Pfn{(1 << 20) + 7}, 1000, memoryPages - 1000}}).value();
    }
    void closeAll(std::vector<UniqueFd> &fds)
    {
        for (UniqueFd &fd : fds)
            ::shutdown(fd.get(), SHUT_RDWR);
    }
    Result<void> save(const SaveOptions &options = {})
    {
        const auto memory = map(ram);
        FurtherLanes<godwit::stream::Sink> further;
        for (size_t lane = 1; lane < sinks.size(); lane++)
            further.streams.push_back(sinks[lane].get());
        further.interrupt = [this] { closeAll(sourceFds); };
        return godwit::engine::save(memory, *sinks[0], pipe.get(), options, host, meter, further);
    }
    Result<void> receive()
    {
        const auto memory = map(copy);
        FurtherLanes<godwit::stream::Source> further;
        for (size_t lane = 1; lane < sources.size(); lane++)
            further.streams.push_back(sources[lane].get());
        further.interrupt = [this] { closeAll(destinationFds); };
        TRY(restore(memory, *sources[0], restoreMeter, StreamVersion::Libxl2, further));
        return {};
    }
    void run(const SaveOptions &options = {})
    {
        std::thread other([this] {
            received = receive();
            if (!received)
                closeAll(destinationFds);
        });
        saved = save(options);
        if (!saved)
            closeAll(sourceFds);
        other.join();
    }
    void expectSame()
    {
        EXPECT_TRUE(saved) << saved.error().message;
        EXPECT_TRUE(received) << received.error().message;
        EXPECT_TRUE(differingPages(ram.get(), copy.get()).empty());
    }

    UniqueFd ram = makeRam(memoryPages), copy = makeRam(memoryPages), pipe;
    std::vector<UniqueFd> sourceFds, destinationFds;
    std::vector<std::unique_ptr<FdSink>> sinks;
    std::vector<std::unique_ptr<FdSource>> sources;
    TestHost host;
    Meter meter, restoreMeter;
    Result<void> saved, received;
};

} // namespace

TEST(Lanes, SendEveryPageOnceAndNoZeros)
{
    for (size_t count : {1u, 2u, 5u, 32u}) {
        Migration migration(count);
        fillRam(migration.ram.get(), 500, 2000);
        migration.run();
        migration.expectSame();
        EXPECT_EQ(migration.meter.snapshot().normalPages, 2000u);
        EXPECT_EQ(migration.meter.snapshot().constantPages, memoryPages - 2000);
        EXPECT_EQ(migration.meter.snapshot().memoryProcessed, memoryPages * pageSize);
        EXPECT_EQ(migration.meter.snapshot().streamBytes, migration.restoreMeter.snapshot().streamBytes);
        EXPECT_EQ(migration.restoreMeter.snapshot().normalPages, 2000u);
        uint64_t most = 0;
        for (const auto &sink : migration.sinks)
            most = std::max(most, sink->offset());
        EXPECT_LE(most, migration.meter.snapshot().streamBytes / count * 2 + godwit::stream::stripePages * pageSize)
            << "the lanes share the work";
    }
}

TEST(Lanes, KeepTheOrderOfRoundsWhicheverLags)
{
    for (bool agent : {true, false}) {
        for (size_t late = 0; late < 3; late++) {
            Migration migration(3);
            migration.sources[late] =
                std::make_unique<LateSource>(migration.destinationFds[late].get(), std::chrono::milliseconds(1));
            fillRam(migration.ram.get(), 0, 3000);
            TestGuest guest(migration.ram.get(), {.mode = "rewrite", .firstPage = 900, .pages = 300, .agent = agent});
            migration.host.onSuspend = [&] { guest.stop(); };
            migration.host.limit.downtime = std::chrono::milliseconds(0);
            migration.host.patientFor = 8;
            migration.run({.live = true, .guestPid = guest.pid()});
            migration.expectSame();
            EXPECT_GE(migration.meter.snapshot().iteration, 2u);
        }
    }
}

TEST(Lanes, AllFailWhenOneBreaks)
{
    for (size_t broken = 0; broken < 3; broken++) {
        Migration migration(3);
        fillRam(migration.ram.get(), 0, 3000);
        migration.sinks[broken] = std::make_unique<FdSink>(::open("/dev/full", O_WRONLY | O_CLOEXEC));
        migration.run();
        ASSERT_FALSE(migration.saved);
        EXPECT_EQ(migration.saved.error().errnum, ENOSPC) << "the true cause";
        EXPECT_FALSE(migration.received);
    }
}

TEST(Lanes, MustReachTheirEnd)
{
    Migration migration(2);
    fillRam(migration.ram.get(), 0, 1000);
    std::thread other([&] { migration.received = migration.receive(); });
    // What the second lane sends is thrown away, and then it is closed.
    migration.sinks[1] = std::make_unique<FdSink>(::open("/dev/null", O_WRONLY | O_CLOEXEC));
    EXPECT_TRUE(migration.save());
    ::shutdown(migration.sourceFds[1].get(), SHUT_WR);
    other.join();
    ASSERT_FALSE(migration.received);
    EXPECT_EQ(migration.received.error().message, "connection 1: libxc record: the stream ends at byte 0");
}
