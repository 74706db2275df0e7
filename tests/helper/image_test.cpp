// SPDX-License-Identifier: LGPL-2.1-or-later
// godwit-helper and aligned images.
#include "base/strprintf.h"
#include "base/units.h"
#include "engine/device_state.h"
#include "tests/engine/test_guest.h"
#include "tests/helper/helper_process.h"

#include <fcntl.h>
#include <filesystem>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <thread>

using namespace godwit::base;
using namespace godwit::control;
using namespace godwit::tests;

namespace {

constexpr uint64_t lowPages = 5000, imagePages = 8192;
constexpr ImageIndex usual{4096, 12288, 1024};

struct AlignedImage : testing::Test {
    AlignedImage() { fillRam(ram.get(), 100, 5000); }

    Save saveRequest() const { return {.guest = "test", .regions = regions, .kind = StreamKind::File, .index = usual}; }
    Restore restoreRequest() const { return {.guest = "test", .regions = regions, .kind = StreamKind::File, .index = usual}; }
    void save(const Save &request)
    {
        HelperProcess helper;
        ::lseek(image.get(), 0, SEEK_SET);
        helper.stateToWrite = state;
        helper.save(request, ram.get(), image.get());
        const auto end = helper.run();
        ASSERT_TRUE(std::holds_alternative<Done>(end)) << failureOf(end);
        EXPECT_EQ(helper.wait(), 0);
        done = std::get<Done>(end);
    }
    std::string restore(const Restore &request)
    {
        HelperProcess helper;
        copy = makeRam(imagePages);
        ::lseek(image.get(), 0, SEEK_SET);
        helper.restore(request, copy.get(), image.get());
        const auto end = helper.run();
        const bool good = std::holds_alternative<Done>(end);
        EXPECT_EQ(helper.wait(), good ? 0 : 1);
        EXPECT_TRUE(helper.stateRead == (good ? state : "")) << "nothing may be loaded from a broken image";
        return failureOf(end);
    }
    void expectSame() { EXPECT_TRUE(differingPages(ram.get(), copy.get()).empty()); }
    void expectXenAccepts()
    {
        const std::string command = strprintf("PYTHONPATH=/usr/lib/xen-4.17/lib/python /usr/bin/python3 "
            "/usr/lib/xen-4.17/bin/verify-stream-v2 -f libxl -i /proc/%d/fd/%d", ::getpid(), image.get());
        EXPECT_EQ(::system(command.c_str()), 0) << "package xen-utils-4.17 must be installed";
    }

    std::vector<Region> regions{{0, 0, lowPages}, {1 << 20, lowPages * pageSize, imagePages - lowPages}};
    UniqueFd ram = makeRam(imagePages), copy;
    std::string state = testState;
    UniqueFd image{::memfd_create("image", MFD_CLOEXEC)};
    Done done;
};

} // namespace

TEST_F(AlignedImage, IsWrittenAndReadWithItsIndexAndAsAnOrdinaryStream)
{
    save(saveRequest());
    EXPECT_EQ(done.progress.normalPages, 5000u);
    EXPECT_EQ(done.progress.constantPages, imagePages - 5000);
    EXPECT_EQ(done.progress.memoryProcessed, imagePages * pageSize);
    EXPECT_EQ(done.deviceStateBytes, testState.size());
    struct stat status{};
    ::fstat(image.get(), &status);
    EXPECT_LT(static_cast<uint64_t>(status.st_blocks) * 512, 5050 * pageSize) << "zeros are holes";
    EXPECT_GT(static_cast<uint64_t>(status.st_size), imagePages * pageSize);

    EXPECT_EQ(restore(restoreRequest()), "");
    expectSame();
    EXPECT_EQ(allocatedPages(copy.get()), 5000u);
    auto unknowing = restoreRequest();
    unknowing.index = {};
    EXPECT_EQ(restore(unknowing), "");
    expectSame();
}

TEST_F(AlignedImage, HoldsADeviceStateThatIsTooLargeForTheHelper)
{
    state.assign(3 * godwit::engine::DeviceState::maxInMemory, 'v');   // much video memory, say
    save(saveRequest());
    EXPECT_EQ(done.deviceStateBytes, state.size());
    EXPECT_EQ(restore(restoreRequest()), "");
    expectSame();
}

TEST_F(AlignedImage, PassesByTheCache)
{
    std::string path = std::filesystem::temp_directory_path() / "godwit-image-XXXXXX";
    image.reset(::mkostemp(path.data(), O_CLOEXEC));
    ASSERT_TRUE(image);
    const UniqueFd direct(::open(path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC));
    ::unlink(path.c_str());
    if (!direct)
        GTEST_SKIP() << "no direct I/O here";
    auto request = saveRequest();
    request.bypassCache = true;
    save(request);
    auto back = restoreRequest();
    back.bypassCache = true;
    EXPECT_EQ(restore(back), "");
    expectSame();
}

TEST_F(AlignedImage, IsAcceptedByXensOwnVerifier)
{
    save(saveRequest());
    expectXenAccepts();
    auto request = saveRequest();
    request.index = {8192, 4096, 100};
    request.live = true;   // memory before the device state
    save(request);
    expectXenAccepts();
    regions = {{0, 0, 1}};
    save(saveRequest());
    expectXenAccepts();
}

TEST_F(AlignedImage, ThatEndsEarlyIsRefused)
{
    save(saveRequest());
    const off_t size = ::lseek(image.get(), 0, SEEK_END);
    constexpr off_t stride = (1024 + 3) * static_cast<off_t>(pageSize);
    for (off_t cut : {size - 1, size - 8, 4096 + 5 * stride, 4096 + 4 * stride + 1, 4096 + stride + 12288, off_t{4096}, off_t{0}}) {
        ASSERT_EQ(::ftruncate(image.get(), cut), 0);
        EXPECT_NE(restore(restoreRequest()).find("the stream ends at byte " + std::to_string(cut)), std::string::npos) << cut;
    }
}

TEST_F(AlignedImage, IsRefusedByNameWhenItCannotBe)
{
    const auto trySave = [&](const Save &request, int fd) {
        HelperProcess helper;
        helper.save(request, ram.get(), fd);
        return failureOf(helper.run());
    };
    const UniqueFd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
    EXPECT_EQ(trySave(saveRequest(), full.get()), "an aligned image must be a regular file");
    auto hostile = saveRequest();
    hostile.index.batchPages = ~0u;
    EXPECT_EQ(trySave(hostile, image.get()), "the image's index has batches of 4294967295 pages (16384 are allowed)");
    save(saveRequest());
    auto other = restoreRequest();
    other.index.firstBatch = 8192;
    EXPECT_NE(restore(other).find("page 0x0 is not where the image's index says"), std::string::npos);
}

TEST_F(AlignedImage, IsGivenUpAtOnceWhereverItIs)
{
    const auto abortAfter = [&](const Save &request, const std::function<void(HelperProcess &)> &wait) {
        HelperProcess helper;
        ::lseek(image.get(), 0, SEEK_SET);
        helper.save(request, ram.get(), image.get());
        wait(helper);
        helper.send(Abort{});
        EXPECT_EQ(failureOf(helper.run()), "aborted");
        EXPECT_EQ(helper.wait(), 1);
    };
    abortAfter(saveRequest(), [](HelperProcess &helper) { ASSERT_TRUE(helper.runUntil<SuspendRequest>()); });
    auto slow = saveRequest();
    slow.live = true;
    slow.bandwidth = 1;
    abortAfter(slow, [](HelperProcess &helper) {
        ASSERT_TRUE(helper.runUntil([](const Message &message) {
            const auto *progress = std::get_if<Progress>(&message);
            return progress && progress->phase == Phase::Memory;
        }));
    });
}
