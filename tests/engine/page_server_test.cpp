// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/page_server.h"

#include "base/strprintf.h"
#include "engine/save.h"
#include "tests/engine/test_guest.h"
#include "tests/engine/test_host.h"

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <future>
#include <gtest/gtest.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <thread>

using namespace godwit::base;
using namespace godwit::engine;
using namespace godwit::tests;

namespace {

constexpr uint64_t demandPages = 4096;
constexpr uint64_t filledPages = 3000;

/// What the server tells.
class Journal : public PageServerHost
{
public:
    void stalled(const Error &why) override { note("stalled: " + why.message); }
    void goesOn() override { note("goes on"); }
    /// The next thing that is told.
    std::string next()
    {
        std::unique_lock lock(mutex_);
        grown_.wait_for(lock, std::chrono::minutes(1), [this] { return !entries_.empty(); });
        if (entries_.empty())
            return "nothing";
        std::string first = entries_.front();
        entries_.erase(entries_.begin());
        return first;
    }

    /// Whether all that was told has been taken.
    bool empty()
    {
        const std::lock_guard lock(mutex_);
        return entries_.empty();
    }

private:
    void note(const std::string &entry)
    {
        const std::lock_guard lock(mutex_);
        entries_.push_back(entry);
        grown_.notify_all();
    }
    std::mutex mutex_;
    std::condition_variable grown_;
    std::vector<std::string> entries_;
};

/// An image, and a guest none of whose pages are there.
struct Demand : testing::Test {
    const std::vector<Region> regions{{Pfn{0}, 0, 2500}, {Pfn{1 << 20}, 2500, demandPages - 2500}};
    const godwit::stream::AlignedIndex index{};
    UniqueFd original = makeRam(demandPages), ram = makeRam(demandPages);
    UniqueFd file{::memfd_create("image", MFD_CLOEXEC)};
    TestHost host;
    Journal journal;
    Meter meter;
    UniqueFd faults;

    void SetUp() override
    {
        fillRam(original.get(), 0, filledPages);
        const auto memory = MemoryMap::make(original.get(), regions).value();
        const UniqueFd pipe = host.makePipe();
        ASSERT_TRUE(saveImage(memory, {file.get(), index}, pipe.get(), {}, host, meter));
    }

    ImageOrigin origin() const
    {
        struct stat status{};
        ::fstat(file.get(), &status);
        return {file.get(), 0, static_cast<uint64_t>(status.st_size),
                static_cast<uint64_t>(status.st_mtim.tv_sec) * 1000000000 + static_cast<uint64_t>(status.st_mtim.tv_nsec), index,
                PageCache::Use};
    }
    MemoryMap map() const { return MemoryMap::make(ram.get(), regions).value(); }
    /// False where the kernel does not let us.
    bool take(TestGuest &guest)
    {
        faults = guest.takeFaults();
        return static_cast<bool>(faults);
    }
};

#define NEEDS_DEMAND(guest) \
    if (!take(guest))       \
    GTEST_SKIP() << "this user may not bring pages on demand"

} // namespace

TEST_F(Demand, BringsEveryPageAndLeavesHoles)
{
    TestGuest guest(ram.get(), {.mode = "idle", .demand = true});
    NEEDS_DEMAND(guest);
    const auto memory = map();
    const auto image = PagedImage::open(memory, origin()).value();
    EXPECT_GT(image->readDeviceState(meter).value().size(), 0u);
    {
        PageServer server(memory, *image, guest.pid(), faults.get(), journal, meter);
        ASSERT_TRUE(server.start());
        EXPECT_EQ(allocatedPages(ram.get()), 0u);
        ASSERT_TRUE(server.fillAll(2));
        ASSERT_TRUE(server.finish());
    }
    EXPECT_EQ(allocatedPages(ram.get()), filledPages);
    EXPECT_TRUE(differingPages(original.get(), ram.get()).empty());
    EXPECT_EQ(meter.snapshot().memoryRemaining, 0u);
    // Writes are tracked as without it.
    EXPECT_EQ(makeWriteProtectTracker(memory, guest.pid())->start().has_value(), bestTracker(true) == "write-protect");
}

TEST_F(Demand, WhoeverTouchesAPageGetsItsContent)
{
    // Without a background: only what the guest touches comes, and what is near.
    TestGuest guest(ram.get(), {.mode = "write", .firstPage = 100, .pages = 200, .demand = true});
    NEEDS_DEMAND(guest);
    const auto memory = map();
    const auto image = PagedImage::open(memory, origin()).value();
    PageServer server(memory, *image, guest.pid(), faults.get(), journal, meter);
    ASSERT_TRUE(server.start());
    guest.writeAll();
    guest.stop();
    EXPECT_LT(allocatedPages(ram.get()), 300u);
    for (uint64_t page = 100; page < 300; page++) {
        std::array<std::byte, pageSize> now, before;
        ASSERT_EQ(::pread(ram.get(), now.data(), pageSize, static_cast<off_t>(page * pageSize)), 4096);
        ASSERT_EQ(::pread(original.get(), before.data(), pageSize, static_cast<off_t>(page * pageSize)), 4096);
        std::memcpy(&before[(page * 64) % pageSize], &now[(page * 64) % pageSize], 8);   // the guest's own word
        ASSERT_EQ(now, before) << "page " << page;
    }
}

TEST_F(Demand, AnImageThatIsCutOffStallsUntilItIsWholeAgain)
{
    TestGuest guest(ram.get(), {.mode = "idle", .demand = true});
    NEEDS_DEMAND(guest);
    const auto memory = map();
    const ImageOrigin good = origin();
    const auto image = PagedImage::open(memory, good).value();
    std::vector<std::byte> content(good.size);
    ASSERT_EQ(::pread(file.get(), content.data(), content.size(), 0), static_cast<ssize_t>(content.size()));
    ASSERT_EQ(::ftruncate(file.get(), 100000), 0);
    PageServer server(memory, *image, guest.pid(), faults.get(), journal, meter);
    ASSERT_TRUE(server.start());
    auto filling = std::async(std::launch::async, [&] { return server.fillAll(2).has_value(); });
    EXPECT_NE(journal.next().find("bytes long"), std::string::npos);
    server.retry();
    EXPECT_NE(journal.next().find("bytes long"), std::string::npos) << "it is still too short";
    ASSERT_EQ(::pwrite(file.get(), content.data(), content.size(), 0), static_cast<ssize_t>(content.size()));
    server.retry();
    EXPECT_EQ(journal.next(), "goes on");
    EXPECT_TRUE(filling.get());
    EXPECT_TRUE(journal.empty()) << "whoever failed before tries again, and tells nothing";
    ASSERT_TRUE(server.finish());
    EXPECT_TRUE(differingPages(original.get(), ram.get()).empty());
}

TEST_F(Demand, WhoeverWritesToTheImageIsNoticed)
{
    const auto memory = map();
    const auto image = PagedImage::open(memory, origin()).value();
    std::vector<std::byte> page(pageSize);
    const auto place = image->find(5).value();
    EXPECT_TRUE(image->read(place, page));
    // The file system's clock is coarse: what comes at once may bear the same time.
    const uint64_t written = origin().modifiedNs;
    for (uint64_t coarse = 0; coarse <= written;) {
        ::usleep(1000);
        timespec now{};
        ::clock_gettime(CLOCK_REALTIME_COARSE, &now);
        coarse = static_cast<uint64_t>(now.tv_sec) * 1000000000 + static_cast<uint64_t>(now.tv_nsec);
    }
    ASSERT_EQ(::pwrite(file.get(), "x", 1, static_cast<off_t>(place.offset)), 1);
    EXPECT_FALSE(image->read(place, page));
    image->acceptChanges();
    EXPECT_TRUE(image->read(place, page));
}

TEST_F(Demand, ABatchWithOtherPagesThanTheIndexSaysIsNotBelieved)
{
    const auto memory = map();
    const uint64_t lastWord = index.firstBatch + index.headSize - 8;
    uint64_t pfn = 7;
    ASSERT_EQ(::pwrite(file.get(), &pfn, sizeof pfn, static_cast<off_t>(lastWord)), 8);
    const auto image = PagedImage::open(memory, origin()).value();
    std::vector<std::byte> page(pageSize);
    const auto refused = image->read(image->find(5).value(), page);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::BadFormat);
    EXPECT_TRUE(image->read(image->find(1024).value(), page)) << "of the next batch";
}

TEST_F(Demand, AnIndexThatLeadsElsewhereIsRefused)
{
    const auto memory = map();
    ImageOrigin wrong = origin();
    for (const godwit::stream::AlignedIndex bad : {godwit::stream::AlignedIndex{4096, 12288, 512},
                                                   godwit::stream::AlignedIndex{8192, 12288, 1024},
                                                   godwit::stream::AlignedIndex{4096, 16384, 1024}}) {
        wrong.index = bad;
        const auto image = PagedImage::open(memory, wrong);
        EXPECT_FALSE(image && (*image)->readDeviceState(meter));
    }
    wrong = origin();
    wrong.begin = ~uint64_t{0} - 4095;
    EXPECT_FALSE(PagedImage::open(memory, wrong));
    wrong = origin();
    wrong.size = 8192;
    EXPECT_FALSE(PagedImage::open(memory, wrong));
}

TEST_F(Demand, AnImageCutAnywhereInItsEndIsRefused)
{
    const auto memory = map();
    const auto size = static_cast<off_t>(origin().size);
    for (const off_t less : {1, 8, 9, 16, 17, 24, 100}) {
        ASSERT_EQ(::ftruncate(file.get(), size - less), 0);
        const auto image = PagedImage::open(memory, origin());
        EXPECT_FALSE(image && (*image)->readDeviceState(meter)) << less;
    }
}

TEST_F(Demand, EndsWithItsGuest)
{
    auto guest = std::make_unique<TestGuest>(ram.get(), TestGuest::Options{.mode = "idle", .demand = true});
    NEEDS_DEMAND(*guest);
    const auto memory = map();
    const auto image = PagedImage::open(memory, origin()).value();
    PageServer server(memory, *image, guest->pid(), faults.get(), journal, meter);
    ASSERT_TRUE(server.start());
    guest.reset();
    EXPECT_FALSE(server.fillAll(1));
}

TEST_F(Demand, AnotherServerGoesOnWhereOneEnded)
{
    TestGuest guest(ram.get(), {.mode = "write", .pages = 64, .demand = true});
    NEEDS_DEMAND(guest);
    const auto memory = map();
    const auto image = PagedImage::open(memory, origin()).value();
    {
        // It takes the first fault and answers nothing.
        std::array<char, 32> message;
        while (::read(faults.get(), message.data(), message.size()) != static_cast<ssize_t>(message.size()))
            ::usleep(1000);
    }
    PageServer server(memory, *image, guest.pid(), faults.get(), journal, meter);
    ASSERT_TRUE(server.start());
    guest.writeAll();
    ASSERT_TRUE(server.fillAll(1));
    ASSERT_TRUE(server.finish());
}

TEST_F(Demand, ItsEndIsNoFailureOfAPageThatIsTouchedThen)
{
    const auto memory = map();
    const auto image = PagedImage::open(memory, origin()).value();
    for (int round = 0; round < 10; round++) {
        TestGuest guest(ram.get(), {.mode = "write", .pages = filledPages, .demand = true});
        NEEDS_DEMAND(guest);
        PageServer server(memory, *image, guest.pid(), faults.get(), journal, meter);
        ASSERT_TRUE(server.start());
        while (allocatedPages(ram.get()) < 100)
            ::usleep(100);
        ASSERT_TRUE(server.finish());   // with nothing in the background, so that pages are missing
        guest.writeAll();
        EXPECT_TRUE(journal.empty()) << journal.next();
        ASSERT_EQ(::ftruncate(ram.get(), 0), 0);
        ASSERT_EQ(::ftruncate(ram.get(), demandPages * pageSize), 0);
    }
}

/// Touches pages of a mapping, one after the other, as long as it lives.
class Toucher
{
public:
    explicit Toucher(std::span<volatile std::byte> memory) : memory_(memory), thread_([this] { run(); }) {}
    Toucher(const Toucher &) = delete;
    Toucher &operator=(const Toucher &) = delete;
    ~Toucher()
    {
        ended_ = true;
        thread_.join();
    }
    /// Whether it comes to touch another one.
    bool goesOn()
    {
        const uint64_t before = touched_;
        for (int i = 0; touched_ == before && i < 20000; i++)
            ::usleep(100);
        return touched_ != before;
    }

private:
    void run()
    {
        for (uint64_t page = 0; !ended_; page++) {
            memory_[page * pageSize % memory_.size()] = std::byte{1};
            touched_ = page;
            using namespace std::chrono;
            for (const auto pause = steady_clock::now() + nanoseconds(page * 7919 % 100000); steady_clock::now() < pause;) {
            }
        }
    }
    const std::span<volatile std::byte> memory_;
    std::atomic<uint64_t> touched_ = 0;
    std::atomic<bool> ended_ = false;
    std::thread thread_;
};

TEST_F(Demand, WhoeverTouchesAPageInTheInstantOfTheEndGoesOn)
{
    constexpr uint64_t size = demandPages * pageSize;
    const auto memory = map();
    const auto image = PagedImage::open(memory, origin()).value();
    void *mapped = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, ram.get(), 0);
    ASSERT_NE(mapped, MAP_FAILED);
    for (int round = 0; round < 1000; round++) {
        faults.reset(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK)));
        uffdio_api api{UFFD_API, 0, 0};
        if (!faults || ::ioctl(faults.get(), UFFDIO_API, &api) < 0)
            GTEST_SKIP() << "this user may not bring pages on demand";
        uffdio_register missing{};
        missing.range = {reinterpret_cast<uintptr_t>(mapped), size};
        missing.mode = UFFDIO_REGISTER_MODE_MISSING;
        ASSERT_EQ(::ioctl(faults.get(), UFFDIO_REGISTER, &missing), 0);
        PageServer server(memory, *image, ::getpid(), faults.get(), journal, meter);
        ASSERT_TRUE(server.start());
        Toucher guest({static_cast<std::byte *>(mapped), size});
        ::usleep(static_cast<useconds_t>(round % 100));
        ASSERT_TRUE(server.finish());
        EXPECT_TRUE(guest.goesOn()) << "round " << round;
        ::ioctl(faults.get(), UFFDIO_WAKE, &missing.range);   // so that a failure ends
        ASSERT_EQ(::madvise(mapped, size, MADV_REMOVE), 0);
    }
    ::munmap(mapped, size);
}
