// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/helper/helper_process.h"

#include "base/strprintf.h"
#include "tests/engine/test_guest.h"
#include "tests/stream/legacy_streams.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <thread>

using namespace godwit::base;
using namespace godwit::control;
using namespace godwit::tests;
using namespace std::chrono_literals;

namespace {

constexpr uint64_t ramPages = 8192;

UniqueFd makeImage()
{
    return UniqueFd(::memfd_create("image", MFD_CLOEXEC));
}

Save saveTo(StreamKind kind)
{
    Save request{.guest = "test", .regions = oneRegion(ramPages), .kind = kind};
    if (kind == StreamKind::Channel)
        request.secret = testSecret;
    return request;
}

Restore restoreFrom(StreamKind kind)
{
    Restore request{.guest = "test", .regions = oneRegion(ramPages), .kind = kind};
    if (kind == StreamKind::Channel || kind == StreamKind::Listener)
        request.secret = testSecret;
    return request;
}

/// Both sides of a migration, each with its own helper; run in parallel.
struct Migration {
    HelperProcess source, destination;
    Message sourceEnd, destinationEnd;

    void run()
    {
        std::thread other([this] { destinationEnd = destination.run(); });
        sourceEnd = source.run();
        other.join();
    }
};

struct Helper : testing::Test {
    UniqueFd ram = makeRam(ramPages);
    UniqueFd copy = makeRam(ramPages);
    void fill() { fillRam(ram.get(), 100, 5000); }
    void expectSame() { EXPECT_TRUE(differingPages(ram.get(), copy.get()).empty()); }
};

} // namespace

TEST_F(Helper, SavesToAFileAndRestoresIt)
{
    fill();
    const auto image = makeImage();
    const std::string head = "what the driver wrote before";
    ASSERT_EQ(::write(image.get(), head.data(), head.size()), static_cast<ssize_t>(head.size()));

    HelperProcess save;
    save.save(saveTo(StreamKind::File), ram.get(), image.get());
    const auto saved = save.run();
    ASSERT_TRUE(std::holds_alternative<Done>(saved)) << failureOf(saved);
    EXPECT_EQ(save.wait(), 0);
    const auto &done = std::get<Done>(saved);
    EXPECT_EQ(done.progress.normalPages, 5000u);
    EXPECT_EQ(done.progress.constantPages, ramPages - 5000);
    EXPECT_EQ(done.deviceStateBytes, testState.size());
    EXPECT_EQ(done.progress.streamBytes + head.size(), static_cast<uint64_t>(::lseek(image.get(), 0, SEEK_END)));

    ::lseek(image.get(), static_cast<off_t>(head.size()), SEEK_SET);
    HelperProcess restore;
    restore.restore(restoreFrom(StreamKind::File), copy.get(), image.get());
    const auto restored = restore.run();
    ASSERT_TRUE(std::holds_alternative<Done>(restored)) << failureOf(restored);
    EXPECT_EQ(restore.wait(), 0);
    EXPECT_EQ(restore.stateRead, testState);
    expectSame();
}

TEST_F(Helper, RestoresALegacyStream)
{
    namespace legacy = godwit::stream::legacy;
    for (const auto width : {legacy::Width::Bits32, legacy::Width::Bits64}) {
        const auto stream = LegacyStream(width, ramPages).batch({5, 0xf0000000, 6}).batch({6, 7})
            .chunk(legacy::Chunk::End).hvmTail().deviceModel("DeviceModelRecord0002", testState).take();
        const auto image = makeImage(), target = makeRam(ramPages);
        ASSERT_EQ(::pwrite(image.get(), stream.data(), stream.size(), 0), static_cast<ssize_t>(stream.size()));
        auto request = restoreFrom(StreamKind::File);
        request.streamVersion = 1;
        HelperProcess restore;
        restore.restore(request, target.get(), image.get());
        const auto restored = restore.run();
        ASSERT_TRUE(std::holds_alternative<Done>(restored)) << failureOf(restored);
        EXPECT_EQ(restore.stateRead, testState);
        for (const uint64_t page : {5, 6, 7}) {
            std::vector<char> content(pageSize);
            ASSERT_EQ(::pread(target.get(), content.data(), pageSize, static_cast<off_t>(page * pageSize)),
                      static_cast<ssize_t>(pageSize));
            EXPECT_EQ(content, std::vector<char>(pageSize, static_cast<char>(page)));
        }
        EXPECT_EQ(allocatedPages(target.get()), 3u);
    }
}

TEST_F(Helper, MigratesALiveGuestThatKeepsWriting)
{
    fill();
    TestGuest guest(ram.get(), {.mode = "rewrite", .firstPage = 2000, .pages = 800});
    auto [listener, port] = makeListener();
    Migration migration;
    migration.destination.restore(restoreFrom(StreamKind::Listener), copy.get(), listener.get());
    listener.reset();
    const auto socket = connectTo(port);
    migration.source.onSuspend = [&] { guest.stop(); };
    auto request = saveTo(StreamKind::Channel);
    request.live = true;
    request.guestPid = static_cast<uint32_t>(guest.pid());
    request.downtimeMs = 60'000;
    migration.source.save(request, ram.get(), socket.get());
    migration.run();
    ASSERT_TRUE(std::holds_alternative<Done>(migration.sourceEnd)) << failureOf(migration.sourceEnd);
    ASSERT_TRUE(std::holds_alternative<Done>(migration.destinationEnd)) << failureOf(migration.destinationEnd);
    const auto &done = std::get<Done>(migration.sourceEnd);
    EXPECT_EQ(done.progress.tracker, bestTracker(true));
    EXPECT_GE(done.progress.iteration, 2u);
    EXPECT_GT(migration.source.progressMessages, 3u) << "one at each step at least";
    EXPECT_EQ(migration.destination.stateRead, testState);
    expectSame();
}

TEST_F(Helper, MigratesAStoppedGuestToAPeerThatKnowsNoPreface)
{
    fill();
    auto [listener, port] = makeListener();
    Migration migration;
    auto request = restoreFrom(StreamKind::Listener);
    request.secret.clear();
    migration.destination.restore(request, copy.get(), listener.get());
    const auto socket = connectTo(port);
    migration.source.save(saveTo(StreamKind::Plain), ram.get(), socket.get());
    migration.run();
    EXPECT_TRUE(std::holds_alternative<Done>(migration.sourceEnd)) << failureOf(migration.sourceEnd);
    EXPECT_TRUE(std::holds_alternative<Done>(migration.destinationEnd)) << failureOf(migration.destinationEnd);
    expectSame();
}

TEST_F(Helper, PassesThroughAPipe)
{
    fill();
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    UniqueFd read(ends[0]), write(ends[1]);
    Migration migration;
    migration.source.save(saveTo(StreamKind::Plain), ram.get(), write.get());
    migration.destination.restore(restoreFrom(StreamKind::Plain), copy.get(), read.get());
    read.reset();
    write.reset();
    migration.run();
    EXPECT_TRUE(std::holds_alternative<Done>(migration.destinationEnd)) << failureOf(migration.destinationEnd);
    expectSame();
}

TEST_F(Helper, RestoresMemoryWithAHoleInItsAddresses)
{
    fill();
    const std::vector<Region> regions{{0, 0, 4000}, {1 << 20, 4000 * pageSize, ramPages - 4000}};
    const auto image = makeImage();
    auto request = saveTo(StreamKind::File);
    request.regions = regions;
    HelperProcess save;
    save.save(request, ram.get(), image.get());
    ASSERT_TRUE(std::holds_alternative<Done>(save.run()));
    ::lseek(image.get(), 0, SEEK_SET);
    auto back = restoreFrom(StreamKind::File);
    back.regions = regions;
    HelperProcess restore;
    restore.restore(back, copy.get(), image.get());
    ASSERT_TRUE(std::holds_alternative<Done>(restore.run()));
    expectSame();
}

TEST_F(Helper, TellsTheSourceTheTrueCauseOfAFailureOnTheDestination)
{
    fill();
    auto [source, destination] = makeTcpPair();
    Migration migration;
    migration.destination.loadAnswer = {false, "QEMU says: unknown device 'x'"};
    migration.destination.restore(restoreFrom(StreamKind::Channel), copy.get(), destination.get());
    migration.source.save(saveTo(StreamKind::Channel), ram.get(), source.get());
    destination.reset();
    migration.run();
    EXPECT_EQ(failureOf(migration.sourceEnd), "destination: QEMU says: unknown device 'x'");
    EXPECT_EQ(failureOf(migration.destinationEnd), "QEMU says: unknown device 'x'");
    EXPECT_EQ(migration.source.wait(), 1);
    EXPECT_EQ(migration.destination.wait(), 1);
}

TEST_F(Helper, TellsTheSourceInTheMiddleOfTheMemory)
{
    fill();
    auto [source, destination] = makeTcpPair();
    Migration migration;
    auto smaller = restoreFrom(StreamKind::Channel);
    smaller.regions = oneRegion(200);
    migration.destination.restore(smaller, copy.get(), destination.get());
    destination.reset();
    migration.source.save(saveTo(StreamKind::Channel), ram.get(), source.get());
    migration.run();
    EXPECT_NE(failureOf(migration.sourceEnd).find("is no memory of this guest"), std::string::npos)
        << failureOf(migration.sourceEnd);
}

TEST_F(Helper, ClosesConnectorsWithoutTheSecretAndGoesOnListening)
{
    fill();
    auto [listener, port] = makeListener();
    Migration migration;
    auto request = restoreFrom(StreamKind::Listener);
    request.prefaceTimeoutMs = 60000;   // none of these may hold up the right one
    migration.destination.restore(request, copy.get(), listener.get());
    listener.reset();
    const auto silent = connectTo(port);
    const auto garbage = connectTo(port);
    ASSERT_GT(::send(garbage.get(), std::string(64, 'g').data(), 64, 0), 0);
    HelperProcess stranger;
    const auto strange = connectTo(port);
    auto wrong = saveTo(StreamKind::Channel);
    wrong.secret = std::string(64, 'd');
    stranger.save(wrong, ram.get(), strange.get());
    EXPECT_EQ(failureOf(stranger.run()), "the destination did not accept the data connection");

    const auto socket = connectTo(port);
    migration.source.save(saveTo(StreamKind::Channel), ram.get(), socket.get());
    migration.run();
    EXPECT_TRUE(std::holds_alternative<Done>(migration.sourceEnd)) << failureOf(migration.sourceEnd);
    expectSame();
    EXPECT_FALSE(connectTo(port)) << "the listener must be closed";
}

TEST_F(Helper, GivesUpWhenNobodyConnects)
{
    auto [listener, port] = makeListener();
    HelperProcess helper;
    auto request = restoreFrom(StreamKind::Listener);
    request.connectTimeoutMs = 50;
    helper.restore(request, copy.get(), listener.get());
    EXPECT_EQ(failureOf(helper.run()), "the source did not connect");
}

TEST_F(Helper, RefusesUnknownStreamsAndBadRequestsByName)
{
    const auto image = makeImage();
    const auto tryRestore = [&](auto change) {
        auto request = restoreFrom(StreamKind::File);
        change(request);
        HelperProcess helper;
        helper.restore(request, copy.get(), image.get());
        return failureOf(helper.run());
    };
    EXPECT_EQ(tryRestore([](Restore &request) { request.streamVersion = 3; }),
              "streams of version 3 cannot be restored");
    EXPECT_EQ(tryRestore([](Restore &request) { request.streamVersion = 1; }),
              "legacy head: the stream ends at byte 0");
    EXPECT_EQ(tryRestore([](Restore &request) { request.regions = oneRegion(ramPages + 1); }),
              "a memory region lies beyond the guest's RAM file");
    EXPECT_EQ(tryRestore([](Restore &request) { request.regions[0].ramOffset = 1; }),
              "a memory region is not page-aligned");
    EXPECT_EQ(tryRestore([](Restore &request) {
                  request.kind = StreamKind::Channel;
                  request.secret = "00";
              }), "the connection's secret has 2 digits instead of 64");
    EXPECT_EQ(tryRestore([](Restore &) {}), "libxl header: the stream ends at byte 0");
}

TEST_F(Helper, RejectsAnImageThatEndsAtAnyBoundary)
{
    fillRam(ram.get(), 0, 3);
    const auto image = makeImage();
    HelperProcess save;
    save.save(saveTo(StreamKind::File), ram.get(), image.get());
    ASSERT_TRUE(std::holds_alternative<Done>(save.run()));
    const off_t size = ::lseek(image.get(), 0, SEEK_END);
    // Every byte is tried in stream_test; here the ends of pages and the last records.
    for (off_t cut : {off_t{16}, off_t{64}, off_t{100}, off_t{4096}, size - 100, size - 17, size - 8, size - 1}) {
        ASSERT_EQ(::ftruncate(image.get(), cut), 0);
        ::lseek(image.get(), 0, SEEK_SET);
        HelperProcess restore;
        restore.restore(restoreFrom(StreamKind::File), copy.get(), image.get());
        EXPECT_NE(failureOf(restore.run()).find("the stream ends at byte " + std::to_string(cut)), std::string::npos);
        EXPECT_TRUE(restore.stateRead.empty()) << "nothing may be loaded from a broken stream";
        EXPECT_EQ(restore.wait(), 1);
        if (cut >= size - 17)   // put the end back for the next, longer one
            continue;
        ::lseek(image.get(), 0, SEEK_SET);
        ASSERT_EQ(::ftruncate(image.get(), 0), 0);
        HelperProcess again;
        again.save(saveTo(StreamKind::File), ram.get(), image.get());
        ASSERT_TRUE(std::holds_alternative<Done>(again.run()));
    }
}

TEST_F(Helper, FailsOnAFullDisk)
{
    fill();
    const UniqueFd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
    HelperProcess helper;
    helper.save(saveTo(StreamKind::File), ram.get(), full.get());
    const auto end = helper.run();
    EXPECT_EQ(failureOf(end), "cannot write the stream: No space left on device");
    ASSERT_TRUE(std::holds_alternative<Failed>(end));
    EXPECT_EQ(std::get<Failed>(end).errnum, static_cast<uint32_t>(ENOSPC));
    EXPECT_EQ(std::get<Failed>(end).code, ErrorCode::System);
}

TEST_F(Helper, FailsWhenQemuWritesNoDeviceState)
{
    const auto image = makeImage();
    HelperProcess helper;
    helper.stateToWrite.clear();
    helper.save(saveTo(StreamKind::File), ram.get(), image.get());
    EXPECT_EQ(failureOf(helper.run()), "QEMU wrote no device state");
}

namespace {

/// A migration slow enough to be caught in the middle of the memory.
struct SlowMigration {
    SlowMigration(const UniqueFd &ram, const UniqueFd &copy)
    {
        auto [here, there] = makeTcpPair();
        destination.restore(restoreFrom(StreamKind::Channel), copy.get(), there.get());
        auto request = saveTo(StreamKind::Channel);
        request.live = true;   // memory first, whatever the guest
        request.bandwidth = 1 * MiB;
        source.save(request, ram.get(), here.get());
    }
    bool untilInTheMiddle()
    {
        return destination.runUntil([](const Message &message) {
            const auto *progress = std::get_if<Progress>(&message);
            return progress && progress->normalPages > 0;
        });
    }
    HelperProcess source, destination;
};

} // namespace

TEST_F(Helper, FailsWhenTheDestinationVanishes)
{
    fill();
    SlowMigration migration(ram, copy);
    ASSERT_TRUE(migration.untilInTheMiddle());
    migration.destination.kill();
    const std::string failure = failureOf(migration.source.run());
    EXPECT_NE(failure.find("data connection"), failure.npos) << failure;
}

TEST_F(Helper, TellsTheSourceThatTheDestinationWasAborted)
{
    fill();
    SlowMigration migration(ram, copy);
    ASSERT_TRUE(migration.untilInTheMiddle());
    migration.destination.send(Abort{});
    EXPECT_EQ(failureOf(migration.source.run()), "destination: aborted");
}

TEST_F(Helper, TellsTheSourceWhyTheDestinationCannotGoOn)
{
    fill();
    SlowMigration migration(ram, copy);
    ASSERT_TRUE(migration.untilInTheMiddle());
    migration.destination.send(Abort{"the emulator has ended"});
    const auto end = migration.destination.run();
    EXPECT_EQ(failureOf(end), "the emulator has ended");
    EXPECT_EQ(std::get<Failed>(end).code, ErrorCode::OperationFailed);
    EXPECT_EQ(failureOf(migration.source.run()), "destination: the emulator has ended");
}

TEST_F(Helper, FailsWhenTheSourceVanishes)
{
    fill();
    SlowMigration migration(ram, copy);
    ASSERT_TRUE(migration.untilInTheMiddle());
    migration.source.kill();
    const std::string failure = failureOf(migration.destination.run());
    EXPECT_NE(failure.find("the stream ends at byte"), failure.npos) << failure;
    EXPECT_TRUE(migration.destination.stateRead.empty());
}

namespace {

/// Every place where a helper can be stuck for good, brought about by `begin`.
struct Stuck {
    const char *where;
    std::function<void(HelperProcess &, UniqueFd &keep)> begin;
};

} // namespace

TEST_F(Helper, AbortsAtOnceWhereverItIs)
{
    fill();
    const std::vector<Stuck> places{
        {"waiting for a connector",
         [&](HelperProcess &helper, UniqueFd &) {
             auto [listener, port] = makeListener();
             helper.restore(restoreFrom(StreamKind::Listener), copy.get(), listener.get());
         }},
        {"writing to a stalled socket",
         [&](HelperProcess &helper, UniqueFd &keep) {
             auto [source, destination] = makeTcpPair();
             helper.save(saveTo(StreamKind::Plain), ram.get(), source.get());
             keep = std::move(destination);
         }},
        {"reading from a silent pipe",
         [&](HelperProcess &helper, UniqueFd &keep) {
             int ends[2];
             ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
             const UniqueFd read(ends[0]);
             keep.reset(ends[1]);
             helper.restore(restoreFrom(StreamKind::Plain), copy.get(), read.get());
         }},
        {"waiting for the guest to stop",
         [&](HelperProcess &helper, UniqueFd &) {
             helper.save(saveTo(StreamKind::File), ram.get(), makeImage().get());
             ASSERT_TRUE(helper.runUntil<SuspendRequest>());
         }},
        {"waiting for the device state",
         [&](HelperProcess &helper, UniqueFd &) {
             helper.save(saveTo(StreamKind::File), ram.get(), makeImage().get());
             ASSERT_TRUE(helper.runUntil<SuspendRequest>());
             helper.send(Suspended{});
         }},
        {"held back by the bandwidth limit",
         [&](HelperProcess &helper, UniqueFd &) {
             auto request = saveTo(StreamKind::File);
             request.live = true;
             request.bandwidth = 1;
             helper.save(request, ram.get(), makeImage().get());
         }},
    };
    for (const Stuck &place : places) {
        for (bool byMessage : {true, false}) {
            HelperProcess helper;
            UniqueFd keep;
            place.begin(helper, keep);
            std::this_thread::sleep_for(50ms);
            if (byMessage) {
                helper.send(Abort{});
                const auto end = helper.run();
                EXPECT_EQ(failureOf(end), "aborted") << place.where;
                EXPECT_EQ(std::get<Failed>(end).code, ErrorCode::Aborted);
            } else {
                helper.closeControl();
            }
            EXPECT_EQ(helper.wait(), 1) << place.where;
        }
    }
}

TEST_F(Helper, TakesNewLimitsWhileItRuns)
{
    fill();
    TestGuest guest(ram.get(), {.mode = "idle"});
    HelperProcess helper;
    auto request = saveTo(StreamKind::File);
    request.live = true;
    request.guestPid = static_cast<uint32_t>(guest.pid());
    request.bandwidth = 1;   // would take forever
    helper.save(request, ram.get(), makeImage().get());
    std::this_thread::sleep_for(100ms);
    helper.send(SetLimits{0, 300});
    EXPECT_TRUE(std::holds_alternative<Done>(helper.run()));
}

TEST_F(Helper, TakesNewLimitsBeforeItHasBegun)
{
    fill();
    for (int i = 0; i < 20; i++) {
        HelperProcess helper;
        auto request = saveTo(StreamKind::Plain);
        request.bandwidth = 1;
        const auto file = makeImage();
        helper.save(request, ram.get(), file.get());
        helper.send(SetLimits{0, 300});
        EXPECT_TRUE(std::holds_alternative<Done>(helper.run()));
    }
}

TEST_F(Helper, SendsProgressWhileItIsHeldUp)
{
    fill();
    auto [source, destination] = makeTcpPair();
    HelperProcess helper;
    helper.save(saveTo(StreamKind::Plain), ram.get(), source.get());
    unsigned seen = 0;
    // Nothing reads the stream: without progress this would never end.
    ASSERT_TRUE(helper.runUntil([&](const Message &message) {
        const auto *progress = std::get_if<Progress>(&message);
        seen += progress && progress->phase == Phase::LastMemory ? 1 : 0;
        return seen == 4;
    }));
}

TEST_F(Helper, EndsOnMessagesOutOfOrder)
{
    HelperProcess helper;
    helper.send(Suspended{});
    EXPECT_FALSE(failureOf(helper.run()).empty());
    EXPECT_EQ(helper.wait(), 1);
}

TEST(HelperProgram, ExplainsItself)
{
    const auto run = [](const char *arguments) {
        const std::string command = std::string(GODWIT_TEST_HELPER) + " " + arguments + " 2>&1";
        FILE *output = ::popen(command.c_str(), "re");
        char text[4096] = {};
        const size_t length = ::fread(text, 1, sizeof text - 1, output);
        const int status = ::pclose(output);
        return std::pair(WEXITSTATUS(status), std::string(text, length));
    };
    EXPECT_EQ(run("--help").first, 0);
    EXPECT_NE(run("--help").second.find("--control-fd N"), std::string::npos);
    EXPECT_EQ(run("--version").second.find("godwit-helper "), 0u);
    for (const char *wrong : {"", "--control-fd", "--control-fd x", "--control-fd -1", "--control-fd 99", "--else"})
        EXPECT_EQ(run(wrong).first, 2) << wrong;
}

TEST_F(Helper, WritesWhatXensOwnVerifierAccepts)
{
    fill();
    TestGuest guest(ram.get(), {.mode = "rewrite", .firstPage = 1000, .pages = 50});
    const auto image = makeImage();
    HelperProcess helper;
    helper.onSuspend = [&] { guest.stop(); };
    auto request = saveTo(StreamKind::File);
    request.live = true;
    request.guestPid = static_cast<uint32_t>(guest.pid());
    helper.save(request, ram.get(), image.get());
    ASSERT_TRUE(std::holds_alternative<Done>(helper.run()));
    const std::string command = strprintf("PYTHONPATH=/usr/lib/xen-4.17/lib/python /usr/bin/python3 "
        "/usr/lib/xen-4.17/bin/verify-stream-v2 -f libxl -i /proc/%d/fd/%d", ::getpid(), image.get());
    EXPECT_EQ(::system(command.c_str()), 0) << "package xen-utils-4.17 must be installed";
}
