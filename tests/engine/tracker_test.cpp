// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/dirty_tracker.h"

#include "base/strprintf.h"
#include "engine/held_process.h"
#include "engine/zero_page.h"
#include "tests/engine/test_guest.h"

#include <array>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <functional>
#include <gtest/gtest.h>
#include <sys/mman.h>

using namespace godwit::base;
using namespace godwit::engine;
using namespace godwit::tests;

namespace {

constexpr uint64_t guestPages = 4096;

struct Tracker : testing::Test {
    UniqueFd ram = makeRam(guestPages);
    Result<MemoryMap> memory = MemoryMap::make(ram.get(), {{Pfn{0}, 0, guestPages}});
    const RamView view{ram.get()};

    std::vector<std::byte> contentNow() const { return {view.page(0), view.page(guestPages)}; }

    /// Transfers while the guest writes, as the engine does: everything first, then what is
    /// found dirty, the guest stopped for the last round. Then both sides must be the same.
    void expectNothingLost(DirtyTracker &tracker, TestGuest &guest, int rounds,
                           const std::function<bool()> &goOn = [] { return false; })
    {
        ASSERT_TRUE(tracker.start());
        std::vector<std::byte> copy(guestPages * pageSize);
        uint64_t lost = 0, found = 0;
        PageSet first = memory->allPages();   // the first pass sends everything
        takePages(tracker, first, copy);
        bool last = false;
        for (int round = 1; !last; round++) {
            last = round >= rounds && !goOn();
            if (last)
                guest.stop();
            PageSet dirty(guestPages);
            ASSERT_TRUE(tracker.collect(dirty));
            found += dirty.count();
            takePages(tracker, dirty, copy);
        }
        for (uint64_t page = 0; page < guestPages; page++)
            lost += std::memcmp(&copy[page * pageSize], view.page(page), pageSize) != 0 ? 1 : 0;
        EXPECT_EQ(lost, 0u) << "of " << found << " dirty pages";
    }

    /// What a transfer does: read the pages' content after they were found dirty.
    void takePages(DirtyTracker &tracker, const PageSet &pages, std::vector<std::byte> &copy)
    {
        for (uint64_t page = pages.next(0); page < guestPages; page = pages.next(page + 1)) {
            std::memcpy(&copy[page * pageSize], view.page(page), pageSize);
            tracker.sent(page, &copy[page * pageSize]);
        }
    }
};

/// A file whose content differs in every block, on a file system with direct I/O.
struct DirectFile {
    std::string path = strprintf("direct-io-%d.bin", ::getpid());
    DirectFile()
    {
        const UniqueFd fd(::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
        fillRam(fd.get(), 0, guestPages, 99);
        ::fsync(fd.get());
    }
    ~DirectFile() { ::unlink(path.c_str()); }
    bool works() const { return static_cast<bool>(UniqueFd(::open(path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC))); }
};

#define NEEDS_WRITE_PROTECT                   \
    if (bestTracker(true) != "write-protect") \
    GTEST_SKIP() << "this kernel tells nobody what was written"

} // namespace

TEST_F(Tracker, WriteProtectFindsExactlyTheWrittenPages)
{
    NEEDS_WRITE_PROTECT;
    fillRam(ram.get(), 0, guestPages);
    TestGuest guest(ram.get(), {.mode = "write", .firstPage = 100, .pages = 50});
    auto tracker = makeWriteProtectTracker(*memory, guest.pid());
    const auto started = tracker->start();
    ASSERT_TRUE(started) << started.error().message;
    guest.writeAll();
    guest.stop();
    PageSet dirty(guestPages);
    ASSERT_TRUE(tracker->collect(dirty));
    EXPECT_EQ(dirty.count(), 50u);
    EXPECT_EQ(dirty.next(0), 100u);
    PageSet again(guestPages);
    ASSERT_TRUE(tracker->collect(again));
    EXPECT_EQ(again.count(), 0u);
}

TEST_F(Tracker, WriteProtectFindsPagesThatWereHoles)
{
    NEEDS_WRITE_PROTECT;
    TestGuest guest(ram.get(), {.mode = "write", .firstPage = 7, .pages = 3});
    guest.stop();
    ASSERT_EQ(::fallocate(ram.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, guestPages * pageSize), 0);
    auto tracker = makeWriteProtectTracker(*memory, guest.pid());
    ASSERT_TRUE(tracker->start());
    guest.resume();
    guest.writeAll();
    guest.stop();
    PageSet dirty(guestPages);
    ASSERT_TRUE(tracker->collect(dirty));
    EXPECT_EQ(dirty.count(), 3u);
    EXPECT_EQ(dirty.next(0), 7u);
}

TEST_F(Tracker, WriteProtectNeedsTheAgent)
{
    TestGuest guest(ram.get(), {.mode = "idle", .agent = false});
    EXPECT_FALSE(makeWriteProtectTracker(*memory, guest.pid())->start());
}

TEST_F(Tracker, WriteProtectLosesNothing)
{
    NEEDS_WRITE_PROTECT;
    fillRam(ram.get(), 0, guestPages);
    TestGuest guest(ram.get(), {.mode = "rewrite", .pages = 2048});
    auto tracker = makeWriteProtectTracker(*memory, guest.pid());
    expectNothingLost(*tracker, guest, 200);
}

TEST_F(Tracker, WriteProtectWithTheAgentLosesNoDirectRead)
{
    NEEDS_WRITE_PROTECT;
    // Each page is read once, so that one lost in flight stays lost. The guest's first reads
    // may come before the tracking: they are part of the first pass.
    const DirectFile file;
    if (!file.works())
        GTEST_SKIP() << "no direct I/O here";
    const std::byte *lastPage = view.page(guestPages - 1);
    for (int pass = 0; pass < 4; pass++) {
        ASSERT_EQ(::fallocate(ram.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, guestPages * pageSize), 0);
        TestGuest guest(ram.get(), {.mode = "direct", .pages = guestPages, .file = file.path});
        auto tracker = makeWriteProtectTracker(*memory, guest.pid());
        expectNothingLost(*tracker, guest, 1, [&] { return isZeroPage(lastPage); });
        EXPECT_FALSE(isZeroPage(lastPage));
    }
}

TEST_F(Tracker, ContentHashesLoseNothing)
{
    TestGuest guest(ram.get(), {.mode = "rewrite", .pages = 2048, .agent = false});
    auto tracker = makeContentTracker(*memory);
    expectNothingLost(*tracker, guest, 20);
}

TEST_F(Tracker, ContentHashesFindExactlyTheChangedPages)
{
    fillRam(ram.get(), 0, 100);
    auto tracker = makeContentTracker(*memory);
    ASSERT_TRUE(tracker->start());
    PageSet dirty(guestPages);
    ASSERT_TRUE(tracker->collect(dirty));
    EXPECT_EQ(dirty.count(), 100u) << "holes are zeros, which the destination has";
    for (uint64_t page = 0; page < 100; page++)
        tracker->sent(page, view.page(page));
    fillRam(ram.get(), 10, 2, 2);
    ASSERT_EQ(::fallocate(ram.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 50 * pageSize, pageSize), 0);
    dirty.clear();
    ASSERT_TRUE(tracker->collect(dirty));
    EXPECT_EQ(dirty.count(), 3u);
    EXPECT_TRUE(dirty.has(10) && dirty.has(11) && dirty.has(50));
}

TEST_F(Tracker, ContentHashesOfSeveralPagesLoseNothing)
{
    TestGuest guest(ram.get(), {.mode = "rewrite", .pages = 2048, .agent = false});
    auto tracker = makeContentTracker(*memory, guestPages / 32);
    expectNothingLost(*tracker, guest, 20);
}

TEST_F(Tracker, ContentHashesOfSeveralPagesFindWholeUnits)
{
    fillRam(ram.get(), 0, 100);
    auto tracker = makeContentTracker(*memory, guestPages / 32);
    PageSet dirty(guestPages);
    ASSERT_TRUE(tracker->collect(dirty));
    EXPECT_EQ(dirty.count(), 128u) << "units of 32 pages";
    for (uint64_t page = 100; page-- > 0;)
        tracker->sent(page, view.page(page));
    dirty.clear();
    ASSERT_TRUE(tracker->collect(dirty));
    EXPECT_EQ(dirty.count(), 0u) << "whatever the order in which they were sent";

    // Two pages of one unit change places: its content is another one.
    std::vector<std::byte> one(view.page(40), view.page(41)), other(view.page(41), view.page(42));
    ASSERT_EQ(::pwrite(ram.get(), other.data(), pageSize, 40 * pageSize), static_cast<ssize_t>(pageSize));
    ASSERT_EQ(::pwrite(ram.get(), one.data(), pageSize, 41 * pageSize), static_cast<ssize_t>(pageSize));
    ASSERT_TRUE(tracker->collect(dirty));
    EXPECT_EQ(dirty.count(), 32u);
    EXPECT_TRUE(dirty.has(32) && dirty.has(63));
}

/// 32 MiB of hashes, whatever the guest's size: test_agent.py measures the rest of a helper's memory.
TEST(ContentTracker, SharesHashesInLargeGuests)
{
    for (const auto &[gibibytes, pagesOfAHash] : {std::pair{16, 1}, {17, 2}, {32, 2}, {33, 4}}) {
        const uint64_t pages = static_cast<uint64_t>(gibibytes) << 18;
        const auto ram = makeRam(pages);
        fillRam(ram.get(), pages - 5, 1);
        const auto memory = MemoryMap::make(ram.get(), {{Pfn{0}, 0, pages}});
        ASSERT_TRUE(memory) << memory.error().message;
        const auto tracker = makeContentTracker(*memory);
        PageSet dirty(pages);
        ASSERT_TRUE(tracker->collect(dirty));
        EXPECT_EQ(dirty.count(), static_cast<uint64_t>(pagesOfAHash)) << gibibytes << " GiB";
        EXPECT_TRUE(dirty.has(pages - 5));
    }
}

/// Where the kernel has no soft-dirty bits it must say so, and not find nothing.
TEST_F(Tracker, SoftDirtyLosesNothingOrRefuses)
{
    fillRam(ram.get(), 0, guestPages);
    TestGuest guest(ram.get(), {.mode = "rewrite", .pages = 2048});
    auto tracker = makeSoftDirtyTracker(*memory, guest.pid());
    if (const auto started = tracker->start(); !started)
        EXPECT_FALSE(started.error().message.empty());
    else
        expectNothingLost(*tracker, guest, 50);
}

TEST_F(Tracker, BestOneIsWriteProtectWithTheAgentAndContentHashesWithoutAnything)
{
    TestGuest guest(ram.get(), {.mode = "idle"});
    EXPECT_EQ(startBestTracker(*memory, guest.pid()).value()->name(), bestTracker(true));
    EXPECT_STREQ(startBestTracker(*memory, 0).value()->name(), "content-hash");
    TestGuest plain(ram.get(), {.mode = "idle", .agent = false});
    EXPECT_EQ(startBestTracker(*memory, plain.pid()).value()->name(), bestTracker(false));
}

TEST_F(Tracker, SpeaksUpWhenTheGuestIsGone)
{
    NEEDS_WRITE_PROTECT;
    std::unique_ptr<DirtyTracker> tracker;
    {
        TestGuest guest(ram.get(), {.mode = "write", .pages = 10});
        tracker = makeWriteProtectTracker(*memory, guest.pid());
        ASSERT_TRUE(tracker->start());
    }
    PageSet dirty(guestPages);
    EXPECT_FALSE(tracker->collect(dirty));
}

TEST_F(Tracker, HeldProcessStandsStillAndGoesOn)
{
    TestGuest guest(ram.get(), {.mode = "write", .pages = 64});
    const auto changes = [&](const std::function<void()> &wait) {
        const auto before = contentNow();
        wait();
        return std::memcmp(before.data(), view.page(0), before.size()) != 0;
    };
    EXPECT_TRUE(changes([&] { guest.writeAll(); }));
    {
        HeldProcess held;
        ASSERT_TRUE(held.hold(guest.pid()));
        EXPECT_FALSE(changes([] { ::usleep(20000); }));
    }
    EXPECT_TRUE(changes([&] { guest.writeAll(); }));
}

TEST_F(Tracker, AgentLeavesNothingInTheEnvironment)
{
    // The guest says so itself: its first letter would be another one.
    TestGuest guest(ram.get(), {.mode = "idle"});
    std::ifstream maps(strprintf("/proc/%d/maps", guest.pid()));
    const std::string text((std::istreambuf_iterator<char>(maps)), {});
    EXPECT_NE(text.find("libgodwit-agent.so"), text.npos);
}
