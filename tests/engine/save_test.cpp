// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/save.h"

#include "engine/restore.h"
#include "tests/engine/test_guest.h"
#include "tests/engine/test_host.h"

#include <atomic>
#include <cstring>
#include <fcntl.h>
#include <functional>
#include <sys/mman.h>
#include <thread>
#include <gtest/gtest.h>

using namespace godwit::base;
using namespace godwit::engine;
using namespace godwit::tests;
using godwit::stream::FdSink;
using godwit::stream::FdSource;

namespace {

constexpr uint64_t ramPages = 4096;

/// A disk that is not fast, however fast this host is.
class SlowSink : public FdSink
{
public:
    using FdSink::FdSink;

protected:
    Result<size_t> writeSome(std::span<const iovec> parts) override
    {
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
        return FdSink::writeSome(parts);
    }
};

/// A guest's memory, an image, and what stands between them.
struct Transfer {
    Transfer()
    {
        pipe = host.makePipe();
        host.meter = &meter;
    }
    static MemoryMap map(const UniqueFd &ram)
    {
        return MemoryMap::make(ram.get(), {{Pfn{0}, 0, 1000}, {Pfn{1 << 20}, 1000, ramPages - 1000}}).value();
    }
    Result<void> save(const SaveOptions &options = {})
    {
        FdSink sink(image.get());
        return save(sink, options);
    }
    Result<void> saveSlowly(const SaveOptions &options)
    {
        SlowSink sink(image.get());
        return save(sink, options);
    }
    Result<void> save(FdSink &sink, const SaveOptions &options)
    {
        const auto memory = map(ram);
        return godwit::engine::save(memory, sink, pipe.get(), options, host, meter);
    }
    void expectRestoresTheSame()
    {
        ::lseek(image.get(), 0, SEEK_SET);
        const auto other = makeRam(ramPages);
        {
            const auto memory = map(other);
            FdSource source(image.get());
            Meter restoreMeter;
            const auto state = restore(memory, source, restoreMeter);
            ASSERT_TRUE(state) << state.error().message;
            EXPECT_EQ(textOf(*state), deviceState);
        }
        EXPECT_TRUE(differingPages(ram.get(), other.get()).empty());
    }

    UniqueFd ram = makeRam(ramPages);
    UniqueFd image{::memfd_create("image", MFD_CLOEXEC)};
    UniqueFd pipe;
    TestHost host;
    Meter meter;
};

struct Save : testing::Test, Transfer {
};

} // namespace

TEST_F(Save, OfAStoppedGuestSendsEveryPageOnceAndNoZeros)
{
    fillRam(ram.get(), 500, 1000);   // across both regions
    const auto saved = save();
    ASSERT_TRUE(saved) << saved.error().message;
    const auto statistics = meter.snapshot();
    EXPECT_EQ(statistics.normalPages, 1000u);
    EXPECT_EQ(statistics.constantPages, ramPages - 1000);
    EXPECT_EQ(statistics.memoryTotal, ramPages * pageSize);
    EXPECT_EQ(statistics.memoryProcessed, ramPages * pageSize);
    EXPECT_EQ(statistics.memoryRemaining, 0u);
    EXPECT_EQ(statistics.deviceStateBytes, deviceState.size());
    EXPECT_EQ(statistics.iteration, 1u);
    EXPECT_EQ(allocatedPages(ram.get()), 1000u) << "holes must stay holes";
    EXPECT_EQ(host.suspends, 1);
    expectRestoresTheSame();
}

TEST_F(Save, OfAnEmptyGuestIsSmall)
{
    ASSERT_TRUE(save());
    EXPECT_LT(::lseek(image.get(), 0, SEEK_END), 1000);
    expectRestoresTheSame();
}

/// Half a TiB, where four pages share a bit of a PageSet.
TEST(SaveOfALargeGuest, SendsLittleMoreThanWhatIsThere)
{
    constexpr uint64_t pages = uint64_t{1} << 27, filled = 300;
    for (bool live : {false, true}) {
        Transfer one;
        one.ram = makeRam(pages);
        const std::vector<Region> regions{{Pfn{0}, 0, 4095}, {Pfn{1 << 20}, 4095, pages - 4095}};
        fillRam(one.ram.get(), 4000, 297);
        for (uint64_t page : {pages / 2 + 1, pages - 2, pages - 1})
            fillRam(one.ram.get(), page, 1);
        FdSink sink(one.image.get());
        const auto memory = MemoryMap::make(one.ram.get(), regions).value();
        const auto saved = godwit::engine::save(memory, sink, one.pipe.get(), {.live = live}, one.host, one.meter);
        ASSERT_TRUE(saved) << saved.error().message;
        EXPECT_GE(one.meter.snapshot().normalPages, filled);
        EXPECT_LE(one.meter.snapshot().normalPages, 4 * filled);
        EXPECT_EQ(allocatedPages(one.ram.get()), filled) << "holes must stay holes";

        ::lseek(one.image.get(), 0, SEEK_SET);
        const auto ram = makeRam(pages);
        const auto other = MemoryMap::make(ram.get(), regions).value();
        FdSource source(one.image.get());
        Meter restoreMeter;
        ASSERT_TRUE(restore(other, source, restoreMeter));
        EXPECT_LE(allocatedPages(ram.get()), 4 * filled);
        uint64_t found = 0;
        for (const auto &set : {memory.presentPages().value(), other.presentPages().value()}) {
            for (uint64_t page = set.next(0); page < pages; page = set.next(page + 1), found++) {
                std::vector<std::byte> sent(pageSize), arrived(pageSize);
                ASSERT_TRUE(memory.read(page, sent) && other.read(page, arrived));
                ASSERT_EQ(sent, arrived) << page;
            }
        }
        EXPECT_GE(found, 2 * filled);
    }
}

TEST_F(Save, FailsWhenTheGuestDoesNotStop)
{
    host.fail = true;
    const auto saved = save();
    ASSERT_FALSE(saved);
    EXPECT_EQ(saved.error().message, "the guest does not stop");
}

TEST_F(Save, OfALiveGuestLosesNothing)
{
    for (const char *mode : {"write", "rewrite"}) {
        for (bool agent : {true, false}) {
            Transfer one;
            fillRam(one.ram.get(), 0, 3000);
            TestGuest guest(one.ram.get(), {.mode = mode, .firstPage = 900, .pages = 300, .agent = agent});
            one.host.onSuspend = [&] { guest.stop(); };
            one.host.limit.downtime = std::chrono::milliseconds(0);
            one.host.patientFor = 8;
            const auto saved = one.save({.live = true, .guestPid = guest.pid(), .maxRounds = 8});
            ASSERT_TRUE(saved) << saved.error().message;
            const auto statistics = one.meter.snapshot();
            EXPECT_EQ(statistics.tracker, bestTracker(agent));
            EXPECT_GE(statistics.iteration, 2u);
            EXPECT_LE(statistics.iteration, 10u);
            one.expectRestoresTheSame();
        }
    }
}

TEST_F(Save, FailsAfterTheLimitOfRoundsWhenTheGuestNeverStandsStill)
{
    fillRam(ram.get(), 0, 1000);
    TestGuest guest(ram.get(), {.mode = "write", .pages = 300});
    host.onSuspend = [&] { guest.stop(); };
    host.onLimits = [&] { guest.writeAll(); };   // in each round
    host.limit = {.bandwidth = 20 * MiB, .downtime = std::chrono::milliseconds(0)};   // rounds of some length
    const auto saved = save({.live = true, .guestPid = guest.pid(), .maxRounds = 4});
    ASSERT_FALSE(saved);
    EXPECT_NE(saved.error().message.find("after 4 rounds"), std::string::npos) << saved.error().message;
    EXPECT_EQ(meter.snapshot().iteration, 4u);
    EXPECT_GT(meter.snapshot().dirtyPagesPerSecond, 0u);
    EXPECT_EQ(host.suspends, 0);
}

TEST_F(Save, StopsTheGuestWhenTheRestIsSmallEnough)
{
    fillRam(ram.get(), 0, 3000);
    TestGuest guest(ram.get(), {.mode = "write", .pages = 20});
    host.onSuspend = [&] { guest.stop(); };
    ASSERT_TRUE(save({.live = true, .guestPid = guest.pid()}));
    // On a busy host even so few may take long, for some rounds.
    EXPECT_GE(meter.snapshot().iteration, 2u);
    EXPECT_LE(meter.snapshot().normalPages, 3000 + 20 * (meter.snapshot().iteration - 1));
    expectRestoresTheSame();
}

TEST_F(Save, SendsWhatIsKnownOfTheRestWhileTheGuestStillRuns)
{
    fillRam(ram.get(), 0, 3000);
    auto write = [&, word = uint64_t{0}](off_t first, off_t count) mutable {
        word++;
        for (off_t page = first; page < first + count; page++)
            ASSERT_EQ(::pwrite(ram.get(), &word, sizeof word, page * static_cast<off_t>(pageSize)),
                      static_cast<ssize_t>(sizeof word));
    };
    uint64_t known = 0, left = 1;
    host.onLimits = [&] { write(0, 700); };   // all the time, so that no round makes it less
    host.limit.downtime = std::chrono::hours(1);
    host.onBeginSuspend = [&] {
        known = meter.snapshot().memoryRemaining;
        write(650, 100);
    };
    host.onSuspend = [&] { left = meter.snapshot().memoryRemaining; };
    ASSERT_TRUE(save({.live = true}));
    EXPECT_GT(known, 0u);
    EXPECT_EQ(left, 0u) << "the guest stood still for what could have been sent before";
    expectRestoresTheSame();
}

TEST_F(Save, GoesOnWhileARoundMakesTheRestMuchShorter)
{
    fillRam(ram.get(), 0, 4000);
    TestGuest guest(ram.get(), {.mode = "write", .pages = 3000});
    host.onSuspend = [&] { guest.stop(); };
    host.onLimits = [&] {
        if (meter.snapshot().iteration == 1)
            guest.writeAll();
    };
    host.limit.downtime = std::chrono::hours(1);
    ASSERT_TRUE(saveSlowly({.live = true, .guestPid = guest.pid()}));
    EXPECT_GE(meter.snapshot().iteration, 3u) << "it was satisfied with what takes long";
    expectRestoresTheSame();
}

TEST_F(Save, MakesMoreThanOneRoundInVain)
{
    fillRam(ram.get(), 0, ramPages);
    // All of its memory, all the time.
    host.onLimits = [&, word = uint64_t{0}]() mutable {
        word++;
        for (off_t page = 0; page < static_cast<off_t>(ramPages); page++)
            ASSERT_EQ(::pwrite(ram.get(), &word, sizeof word, page * static_cast<off_t>(pageSize)),
                      static_cast<ssize_t>(sizeof word));
    };
    host.limit.downtime = std::chrono::hours(1);
    ASSERT_TRUE(saveSlowly({.live = true}));
    EXPECT_GE(meter.snapshot().iteration, 5u) << "one, three in vain, and the last";
    expectRestoresTheSame();
}

TEST_F(Save, SendsPagesThatBecameZeroOrWereGivenBackMeanwhile)
{
    fillRam(ram.get(), 0, 200);
    TestGuest guest(ram.get(), {.mode = "idle"});
    host.onSuspend = [&] {
        ASSERT_EQ(::fallocate(ram.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 10 * pageSize, 5 * pageSize), 0);
    };
    ASSERT_TRUE(save({.live = true, .guestPid = guest.pid()}));
    EXPECT_EQ(meter.snapshot().normalPages, 205u);
    expectRestoresTheSame();
    EXPECT_EQ(allocatedPages(ram.get()), 195u);
}

TEST_F(Save, KeepsToTheBandwidthLimitWhileTheGuestRuns)
{
    fillRam(ram.get(), 0, 4000);
    TestGuest guest(ram.get(), {.mode = "idle"});
    host.limit.bandwidth = 64 * MiB;
    ASSERT_TRUE(save({.live = true, .guestPid = guest.pid()}));
    EXPECT_GT(meter.snapshot().elapsed, std::chrono::milliseconds(140));   // 16 MB at 64 MiB/s, less the bucket
    expectRestoresTheSame();
}

TEST_F(Save, FailsOnAFullDisk)
{
    fillRam(ram.get(), 0, 3000);
    image.reset(::open("/dev/full", O_WRONLY | O_CLOEXEC));
    const auto saved = save();
    ASSERT_FALSE(saved);
    EXPECT_EQ(saved.error().errnum, ENOSPC);
}

TEST_F(Save, RefusesAStreamWithPagesThatTheGuestDoesNotHave)
{
    fillRam(ram.get(), 0, 2000);
    ASSERT_TRUE(save());
    ::lseek(image.get(), 0, SEEK_SET);
    const auto smaller = makeRam(1000);
    const auto memory = MemoryMap::make(smaller.get(), {{Pfn{0}, 0, 1000}}).value();
    FdSource source(image.get());
    const auto state = restore(memory, source, meter);
    ASSERT_FALSE(state);
    EXPECT_NE(state.error().message.find("page 0x100000 is no memory of this guest"), std::string::npos)
        << state.error().message;
}
