// SPDX-License-Identifier: LGPL-2.1-or-later
// Aligned images: written by saveImage(), read by restoreImage() and by the plain reader.
#include "engine/restore.h"
#include "stream/file_io.h"
#include "tests/engine/test_guest.h"
#include "tests/engine/test_host.h"

#include <cstring>
#include <filesystem>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

using namespace godwit::base;
using namespace godwit::engine;
using namespace godwit::tests;
using godwit::stream::AlignedIndex;
using godwit::stream::FdSink;
using godwit::stream::FdSource;

namespace {

constexpr uint64_t fourGiB = uint64_t{1} << 20;   // as a pfn
constexpr AlignedIndex smallBatches{.firstBatch = 8192, .headSize = 4096, .batchPages = 16};

uint64_t pagesOf(const std::vector<Region> &regions)
{
    uint64_t pages = 0;
    for (const Region &region : regions)
        pages += region.pages;
    return pages;
}

std::string messageOf(const Result<DeviceState> &result)
{
    return result ? "" : result.error().message;
}

/// A guest and its image, which begins one page into its file.
struct Image {
    explicit Image(std::vector<Region> memory = {{Pfn{0}, 0, 1000}, {Pfn{fourGiB}, 1000, 2100}}, AlignedIndex how = {})
        : regions(std::move(memory)), index(how), ram(makeRam(pagesOf(regions)))
    {
        seek();
    }
    MemoryMap map() const { return MemoryMap::make(ram.get(), regions).value(); }
    off_t size() const { return ::lseek(file.get(), 0, SEEK_END); }
    void seek() const { ::lseek(file.get(), start, SEEK_SET); }
    Result<void> save(const SaveOptions &options = {}, PageCache cache = PageCache::Use)
    {
        const UniqueFd pipe = host.makePipe();
        const auto memory = map();
        seek();
        return saveImage(memory, {file.get(), index, cache}, pipe.get(), options, host, meter);
    }
    /// Into `target`, which has the same regions; without threads as an ordinary stream.
    Result<DeviceState> restore(const UniqueFd &target, unsigned threads, PageCache cache = PageCache::Use)
    {
        const auto memory = MemoryMap::make(target.get(), regions).value();
        seek();
        restoreMeter.emplace();
        if (threads > 0)
            return restoreImage(memory, {file.get(), index, cache, threads}, *restoreMeter);
        FdSource source(file.get());
        return godwit::engine::restore(memory, source, *restoreMeter);
    }
    void expectRestoresTheSame(PageCache cache = PageCache::Use)
    {
        for (unsigned threads : {0, 1, 4}) {
            const UniqueFd copy = makeRam(pagesOf(regions));
            const auto state = restore(copy, threads, cache);
            ASSERT_TRUE(state) << state.error().message;
            EXPECT_EQ(textOf(*state), deviceState);
            EXPECT_TRUE(differingPages(ram.get(), copy.get()).empty());
            EXPECT_LE(allocatedPages(copy.get()), allocatedPages(ram.get())) << "zeros stay holes";
        }
    }
    void expectRefused(const std::string &words)
    {
        for (unsigned threads : {0, 1, 4}) {
            const auto state = restore(makeRam(pagesOf(regions)), threads);
            EXPECT_NE(messageOf(state).find(words), std::string::npos)
                << messageOf(state) << " by " << threads << " threads";
        }
    }

    static constexpr off_t start = 4096;
    std::vector<Region> regions;
    AlignedIndex index;
    UniqueFd ram;
    UniqueFd file{::memfd_create("image", MFD_CLOEXEC)};
    TestHost host;
    Meter meter;
    std::optional<Meter> restoreMeter;
};

} // namespace

TEST(Image, BringsBackEveryKindOfGuest)
{
    const std::vector<std::vector<Region>> guests{
        {{Pfn{0}, 0, 1}}, {{Pfn{0}, 0, 15}}, {{Pfn{0}, 0, 16}}, {{Pfn{0}, 0, 17}}, {{Pfn{0}, 0, 1024}}, {{Pfn{0}, 0, 1025}},
        {{Pfn{0}, 0, 700}, {Pfn{fourGiB}, 700, 333}},
        {{Pfn{0}, 0, 160}, {Pfn{256}, 160, 1000}, {Pfn{fourGiB}, 1160, 1}},
        {{Pfn{0}, 500, 500}, {Pfn{fourGiB}, 0, 500}},   // the other way round in the RAM file
    };
    for (const auto &regions : guests) {
        for (const AlignedIndex &index : {AlignedIndex{}, smallBatches}) {
            const uint64_t pages = pagesOf(regions);
            for (uint64_t filled : {uint64_t{0}, pages / 2, pages}) {
                Image image(regions, index);
                fillRam(image.ram.get(), pages - filled, filled);
                const auto saved = image.save();
                ASSERT_TRUE(saved) << saved.error().message;
                const auto statistics = image.meter.snapshot();
                EXPECT_EQ(statistics.normalPages, filled);
                EXPECT_EQ(statistics.constantPages, pages - filled);
                EXPECT_EQ(statistics.memoryProcessed, pages * pageSize);
                EXPECT_EQ(statistics.memoryRemaining, 0u);
                EXPECT_EQ(allocatedPages(image.ram.get()), filled) << "holes must stay holes";
                EXPECT_EQ(image.host.suspends, 1);
                image.expectRestoresTheSame();
            }
        }
    }
}

TEST(Image, HasEveryPageWhereItsLayoutSays)
{
    Image image;
    fillRam(image.ram.get(), 0, 3100);
    ASSERT_TRUE(image.save());
    const auto memory = image.map();
    const RamView view(image.ram.get());
    const auto layout = memory.layout(image.index).value();
    std::vector<std::byte> page(pageSize);
    for (const Region &region : image.regions) {
        for (uint64_t i = 0; i < region.pages; i++) {
            const auto place = layout.pageOffset(Pfn{region.firstPfn.value + i});
            ASSERT_TRUE(place);
            ASSERT_EQ(::pread(image.file.get(), page.data(), pageSize, image.start + static_cast<off_t>(*place)),
                      static_cast<ssize_t>(pageSize));
            ASSERT_EQ(std::memcmp(page.data(), view.page(region.firstPage + i), pageSize), 0) << i;
        }
    }
}

TEST(Image, LeavesZerosAsHolesWhereverTheyAre)
{
    Image image({{Pfn{0}, 0, 4096}});
    const std::vector<std::byte> zeros(100 * pageSize);
    for (uint64_t page : {110, 500, 1000, 1001, 1003, 2000, 2047, 2048})
        fillRam(image.ram.get(), page, 1);
    for (off_t page : {0, 800, 2100, 3996})   // present, and zero
        ASSERT_EQ(::pwrite(image.ram.get(), zeros.data(), zeros.size(), page * static_cast<off_t>(pageSize)),
                  static_cast<ssize_t>(zeros.size()));
    ASSERT_TRUE(image.save());
    EXPECT_EQ(image.meter.snapshot().normalPages, 8u);
    struct stat status{};
    ::fstat(image.file.get(), &status);
    EXPECT_GT(status.st_size, off_t{4096} * 4096);
    // The stream's head, four batches' heads, eight pages, the tail.
    EXPECT_LE(status.st_blocks * 512, off_t{4096} * (1 + 4 * 3 + 8 + 1));
    image.expectRestoresTheSame();
    for (unsigned threads : {1, 4}) {
        ASSERT_TRUE(image.restore(makeRam(4096), threads));
        EXPECT_EQ(image.restoreMeter->snapshot().normalPages, 8u);
        EXPECT_EQ(image.restoreMeter->snapshot().memoryProcessed, 4096 * pageSize);
    }
}

TEST(Image, ReplacesWhatWasInTheFile)
{
    Image image;
    const std::vector<std::byte> junk(8 * MiB, std::byte{0xee});
    for (off_t at = 0; at < 32 * static_cast<off_t>(MiB); at += static_cast<off_t>(junk.size()))
        ASSERT_EQ(::pwrite(image.file.get(), junk.data(), junk.size(), at), static_cast<ssize_t>(junk.size()));
    fillRam(image.ram.get(), 100, 10);
    ASSERT_TRUE(image.save());
    EXPECT_LT(image.size(), 16 * static_cast<off_t>(MiB));
    image.expectRestoresTheSame();
}

TEST(Image, HasWhatAStoppedGuestsMemoryBecameUntilItsDeviceStateWasTaken)
{
    for (bool agent : {true, false}) {
        Image image;
        fillRam(image.ram.get(), 0, 2000);
        TestGuest guest(image.ram.get(), {.mode = "write", .firstPage = 900, .pages = 300, .agent = agent});
        image.host.onSuspend = [&] {
            guest.stop();
            const std::vector<std::byte> zeros(pageSize);
            if (bestTracker(agent) == "content-hash") {   // the others see the guest's own writes only
                ASSERT_EQ(::pwrite(image.ram.get(), zeros.data(), pageSize, 5 * pageSize), static_cast<ssize_t>(pageSize));
            }
            ASSERT_EQ(::fallocate(image.ram.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 50 * pageSize, 5 * pageSize), 0);
        };
        const auto saved = image.save({.live = true, .guestPid = guest.pid()});
        ASSERT_TRUE(saved) << saved.error().message;
        EXPECT_EQ(image.meter.snapshot().tracker, bestTracker(agent));
        EXPECT_EQ(image.meter.snapshot().iteration, 2u);
        const UniqueFd copy = makeRam(3100);
        ASSERT_TRUE(image.restore(copy, /* threads= */ 2));
        EXPECT_TRUE(differingPages(image.ram.get(), copy.get()).empty());
    }
}

TEST(Image, FailsWhenTheGuestDoesNotStop)
{
    Image image;
    image.host.fail = true;
    const auto saved = image.save();
    ASSERT_FALSE(saved);
    EXPECT_EQ(saved.error().message, "the guest does not stop");
}

TEST(Image, KeepsToTheBandwidthLimit)
{
    Image image;
    fillRam(image.ram.get(), 0, 3000);
    image.host.limit.bandwidth = 64 * MiB;
    ASSERT_TRUE(image.save());
    EXPECT_GT(image.meter.snapshot().elapsed, std::chrono::milliseconds(80));   // 12 MB at 64 MiB/s, less the bucket
    image.expectRestoresTheSame();
}

TEST(Image, NeedsARegularFileAndAnAlignedPlace)
{
    Image image;
    const auto memory = image.map();
    const UniqueFd pipe = image.host.makePipe(), full(::open("/dev/full", O_RDWR | O_CLOEXEC));
    const auto toDevice = saveImage(memory, {full.get(), {}}, pipe.get(), {}, image.host, image.meter);
    ASSERT_FALSE(toDevice);
    EXPECT_EQ(toDevice.error().message, "an aligned image must be a regular file");
    ::lseek(image.file.get(), 100, SEEK_SET);
    const auto crooked = saveImage(memory, {image.file.get(), {}}, pipe.get(), {}, image.host, image.meter);
    ASSERT_FALSE(crooked);
    EXPECT_EQ(crooked.error().message, "an aligned image cannot begin at byte 100");
}

TEST(Image, ThatEndsAtAnyBoundaryIsRefused)
{
    Image image({{Pfn{0}, 0, 40}, {Pfn{fourGiB}, 40, 30}}, smallBatches);
    fillRam(image.ram.get(), 3, 60);
    ASSERT_TRUE(image.save());
    const auto layout = image.map().layout(image.index).value();
    const auto size = static_cast<uint64_t>(image.size() - image.start);
    std::vector<uint64_t> cuts{0, 16, 72, image.index.firstBatch, layout.end(), size - 8, size - 1};
    for (uint64_t number = 0; number < layout.batches(); number++) {
        const auto batch = layout.batch(number);
        for (uint64_t place : {batch.offset, batch.offset + 8, batch.dataOffset, batch.dataOffset + batch.pages * pageSize})
            cuts.insert(cuts.end(), {place - 1, place, place + 1});
    }
    std::ranges::sort(cuts, std::greater());
    for (uint64_t cut : cuts) {
        ASSERT_EQ(::ftruncate(image.file.get(), image.start + static_cast<off_t>(cut)), 0);
        image.expectRefused("the stream ends at byte " + std::to_string(cut));
    }
}

TEST(Image, WhoseIndexLiesIsRefused)
{
    Image image({{Pfn{0}, 0, 40}, {Pfn{fourGiB}, 40, 30}}, smallBatches);
    fillRam(image.ram.get(), 0, 70);
    ASSERT_TRUE(image.save());
    const AlignedIndex good = image.index;
    const auto refusal = [&](const AlignedIndex &index, const std::vector<Region> &regions) {
        image.index = index;
        image.regions = regions;
        const auto state = image.restore(makeRam(pagesOf(regions)), /* threads= */ 2);
        return messageOf(state);
    };
    const auto regions = image.regions;
    EXPECT_EQ(refusal(good, regions), "");
    for (const AlignedIndex &wrong : {AlignedIndex{.firstBatch = 4096, .headSize = 4096, .batchPages = 16},
                                      AlignedIndex{.firstBatch = 8192, .headSize = 8192, .batchPages = 16},
                                      AlignedIndex{.firstBatch = 8192, .headSize = 4096, .batchPages = 17}})
        EXPECT_NE(refusal(wrong, regions).find("is not where the image's index says"), std::string::npos);
    EXPECT_NE(refusal({.batchPages = 0}, regions).find("batches of 0 pages"), std::string::npos);
    auto more = regions;
    more.push_back({Pfn{2 * fourGiB}, 70, 5});
    EXPECT_EQ(refusal(good, more), "the image lacks 5 of the guest's pages");
    auto fewer = regions;
    fewer.pop_back();
    EXPECT_NE(refusal(good, fewer).find("page 0x100000 is no memory of this guest"), std::string::npos);
}

TEST(Image, OfTheOldPlainKindIsRestoredFromItsFile)
{
    Image image;
    fillRam(image.ram.get(), 0, 3000);
    TestGuest guest(image.ram.get(), {.mode = "rewrite", .firstPage = 500, .pages = 800});
    image.host.onSuspend = [&] {
        guest.stop();
        ASSERT_EQ(::fallocate(image.ram.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 10 * pageSize, 5 * pageSize), 0);
    };
    image.host.limit.downtime = std::chrono::milliseconds(0);
    image.host.patientFor = 3;
    image.host.meter = &image.meter;
    ::lseek(image.file.get(), 77, SEEK_SET);   // whatever the alignment
    {
        const UniqueFd pipe = image.host.makePipe();
        const auto memory = image.map();
        FdSink sink(image.file.get());
        ASSERT_TRUE(save(memory, sink, pipe.get(), {.live = true, .guestPid = guest.pid()}, image.host,
                         image.meter));
    }
    ASSERT_GE(image.meter.snapshot().iteration, 2u) << "some pages come more than once";
    for (unsigned threads : {1, 4}) {
        const UniqueFd copy = makeRam(3100);
        const auto memory = MemoryMap::make(copy.get(), image.regions).value();
        ::lseek(image.file.get(), 77, SEEK_SET);
        Meter restoreMeter;
        const auto state = restoreImage(memory, {image.file.get(), {}, PageCache::Bypass, threads}, restoreMeter);
        ASSERT_TRUE(state) << state.error().message;
        EXPECT_TRUE(differingPages(image.ram.get(), copy.get()).empty());
    }
}

/// A new file in `folder`, without a name; none when there is no such folder.
static UniqueFd makeFile(std::string folder)
{
    folder += "/godwit-image-XXXXXX";
    UniqueFd file(::mkostemp(folder.data(), O_CLOEXEC));
    ::unlink(folder.c_str());
    return file;
}

/// How many of the file's pages the page cache has.
static uint64_t cachedPages(const UniqueFd &file)
{
    const auto size = static_cast<size_t>(::lseek(file.get(), 0, SEEK_END));
    void *map = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.get(), 0);
    EXPECT_NE(map, MAP_FAILED);
    std::vector<unsigned char> present(size / pageSize + 1);
    EXPECT_EQ(::mincore(map, size, present.data()), 0);
    ::munmap(map, size);
    return static_cast<uint64_t>(std::ranges::count_if(present, [](unsigned char page) { return page & 1; }));
}

TEST(Image, PassesByTheCache)
{
    Image image;
    image.file = makeFile(std::filesystem::temp_directory_path());
    ASSERT_TRUE(image.file);
    const auto direct = godwit::stream::reopen(image.file.get(), O_RDONLY | O_DIRECT);
    fillRam(image.ram.get(), 700, 1800);
    const auto saved = image.save({}, PageCache::Bypass);
    if (!direct) {
        ASSERT_FALSE(saved);
        EXPECT_NE(saved.error().message.find("without the page cache"), std::string::npos);
        GTEST_SKIP() << "no direct I/O here";
    }
    ASSERT_TRUE(saved) << saved.error().message;
    image.expectRestoresTheSame(PageCache::Bypass);
    image.expectRestoresTheSame();
}

TEST(Image, SparesTheCacheWhereItsFileCanDoWithout)
{
    for (const char *folder : {"/var/tmp", "/dev/shm"}) {   // most likely on a disk; never on one
        SCOPED_TRACE(folder);
        Image image;
        if (image.file = makeFile(folder); !image.file)
            continue;
        fillRam(image.ram.get(), 700, 1800);
        const bool can = godwit::stream::takesDirectIo(image.file.get());
        const auto saved = image.save({}, PageCache::Spare);
        ASSERT_TRUE(saved) << saved.error().message;
        if (can)
            EXPECT_LT(cachedPages(image.file), 100u);
        else
            EXPECT_GE(cachedPages(image.file), 1800u);
        image.expectRestoresTheSame();
    }
}

TEST(Image, IsReadPastTheCacheUnlessItIsThere)
{
    Image image;
    image.file = makeFile("/var/tmp");
    if (!image.file || !godwit::stream::takesDirectIo(image.file.get()))
        GTEST_SKIP() << "no direct I/O here";
    fillRam(image.ram.get(), 700, 1800);
    ASSERT_TRUE(image.save({}, PageCache::Spare));
    const auto copy = makeRam(pagesOf(image.regions));
    ASSERT_TRUE(image.restore(copy, 4, PageCache::Spare));
    EXPECT_TRUE(differingPages(image.ram.get(), copy.get()).empty());
    EXPECT_LT(cachedPages(image.file), 900u);
    image.expectRestoresTheSame();
    EXPECT_GE(cachedPages(image.file), 1800u);
    image.expectRestoresTheSame(PageCache::Spare);
}

TEST(PageCache, IsAskedBeforeTheDisk)
{
    const auto file = makeFile("/var/tmp");
    if (!file || !godwit::stream::takesDirectIo(file.get()))
        GTEST_SKIP() << "no direct I/O here";
    const auto reader = [&](PageCache cache, uint64_t begin = pageSize) {
        return openDirectReader(file.get(), begin, cache).value();
    };
    const std::vector<std::byte> content(MiB, std::byte{1});
    ASSERT_TRUE(godwit::stream::writeAt(file.get(), content, 0));
    ::lseek(file.get(), 5, SEEK_SET);
    EXPECT_FALSE(reader(PageCache::Spare)) << "it is in the cache";
    EXPECT_FALSE(reader(PageCache::Use));
    EXPECT_TRUE(reader(PageCache::Bypass));
    ASSERT_EQ(::fsync(file.get()), 0);
    ASSERT_EQ(::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED), 0);
    EXPECT_TRUE(reader(PageCache::Spare));
    EXPECT_FALSE(reader(PageCache::Use));
    EXPECT_FALSE(reader(PageCache::Bypass, pageSize + 512)) << "its pages are not aligned";
    EXPECT_EQ(::lseek(file.get(), 0, SEEK_CUR), 5) << "the position is its owner's";
}

TEST(PageCache, HasAllOfAFileThatIsInMemoryOnly)
{
    const auto file = makeFile("/dev/shm");
    if (!file)
        GTEST_SKIP() << "no files in memory here";
    EXPECT_FALSE(openDirectReader(file.get(), 0, PageCache::Spare).value());
    EXPECT_FALSE(openDirectWriter(file.get(), PageCache::Spare).value());
}

TEST(Image, SparesTheCacheWhenItIsLargeBesideTheHost)
{
    EXPECT_EQ(suitableCache(1 * GiB, 16 * GiB), PageCache::Use);
    EXPECT_EQ(suitableCache(1 * GiB + 1, 16 * GiB), PageCache::Spare);
}

TEST(Image, ThatFindsNoRoomAnywhereIsOneError)
{
    // A mount of our own, which nobody else sees, and which ends with this process.
    if (::unshare(CLONE_NEWNS) < 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0)
        GTEST_SKIP() << "needs the right to mount";
    std::string folder = std::filesystem::temp_directory_path() / "godwit-full-XXXXXX";
    ASSERT_NE(::mkdtemp(folder.data()), nullptr);
    Image image({{Pfn{0}, 0, 256}}, smallBatches);
    fillRam(image.ram.get(), 0, 256);
    int failures = 0;
    // Room for so many pages: for none of it, for some batches, for all but the tail, for all.
    for (int room : {1, 2, 3, 4, 20, 100, 200, 270, 274, 275, 300}) {
        const std::string size = "size=" + std::to_string(room * static_cast<int>(pageSize));
        ASSERT_EQ(::mount("godwit-test", folder.c_str(), "tmpfs", 0, size.c_str()), 0);
        for (bool live : {false, true}) {
            image.file.reset(::open((folder + "/image").c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
            TestGuest guest(image.ram.get(), {.mode = "idle"});
            const auto saved = image.save({.live = live, .guestPid = guest.pid()});
            failures += saved ? 0 : 1;
            if (!saved) {
                EXPECT_EQ(saved.error().errnum, ENOSPC);
                EXPECT_TRUE(saved.error().message.ends_with(": No space left on device")) << saved.error().message;
            }
            EXPECT_EQ(saved.has_value(), room >= 275) << room;
            if (saved)
                image.expectRestoresTheSame();
        }
        image.file.reset();
        ASSERT_EQ(::umount2(folder.c_str(), MNT_DETACH), 0);
    }
    EXPECT_GT(failures, 10);
    ::rmdir(folder.c_str());
}

TEST(Image, WhoseHolesWereFilledIsRestoredWithHoles)
{
    Image image;
    fillRam(image.ram.get(), 1500, 200);
    ASSERT_TRUE(image.save());
    const off_t size = image.size();
    std::vector<std::byte> all(static_cast<size_t>(size));   // as a tool that knows no holes copies it
    ASSERT_EQ(::pread(image.file.get(), all.data(), all.size(), 0), size);
    ASSERT_EQ(::pwrite(image.file.get(), all.data(), all.size(), 0), size);
    image.expectRestoresTheSame();
}
