// SPDX-License-Identifier: LGPL-2.1-or-later
// A migration over several connections, with real helpers.
#include "base/strprintf.h"
#include "channel/preface.h"
#include "tests/channel/certificates.h"
#include "tests/engine/test_guest.h"
#include "tests/helper/helper_process.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

using namespace godwit::base;
using namespace godwit::control;
using namespace godwit::tests;
using namespace std::chrono_literals;

namespace {

constexpr uint64_t memoryPages = 8192;

struct Parallel : testing::Test {
    Parallel()
    {
        fillRam(ram.get(), 100, 5000);
        auto [socket, number] = makeListener();
        listener = std::move(socket);
        port = number;
    }
    Restore restoreOver(uint32_t connections) const
    {
        Restore request{.guest = "test", .regions = oneRegion(memoryPages), .kind = StreamKind::Listener};
        request.secret = testSecret;
        request.tls = destinationTls;
        request.connections = connections;
        return request;
    }
    /// Start both helpers.
    void begin(uint32_t connections, Save request = {})
    {
        destination.restore(restoreOver(connections), copy.get(), listener.get());
        send(connections, std::move(request));
    }
    void send(uint32_t connections, Save request = {})
    {
        request.guest = "test";
        request.regions = oneRegion(memoryPages);
        request.kind = StreamKind::Channel;
        request.secret = testSecret;
        request.tls = sourceTls;
        std::vector<UniqueFd> sockets;
        while (sockets.size() < connections)
            sockets.push_back(connectTo(port));
        UniqueFd first = std::move(sockets[0]);
        sockets.erase(sockets.begin());
        source.save(request, ram.get(), first.get(), sockets);
    }
    void run()
    {
        std::thread other([this] { destinationEnd = destination.run(); });
        sourceEnd = source.run();
        other.join();
    }
    static std::string failureOf(const Message &message)
    {
        const auto *failed = std::get_if<Failed>(&message);
        return failed ? failed->message : "";
    }
    void expectSame()
    {
        ASSERT_TRUE(std::holds_alternative<Done>(sourceEnd)) << failureOf(sourceEnd);
        ASSERT_TRUE(std::holds_alternative<Done>(destinationEnd)) << failureOf(destinationEnd);
        EXPECT_EQ(destination.stateRead, testState);
        EXPECT_TRUE(differingPages(ram.get(), copy.get()).empty());
    }

    UniqueFd ram = makeRam(memoryPages), copy = makeRam(memoryPages);
    UniqueFd listener;
    uint16_t port = 0;
    Tls sourceTls, destinationTls;
    HelperProcess source, destination;
    Message sourceEnd, destinationEnd;
};

/// A source of our own: its connections, as far as the preface.
struct Stranger {
    explicit Stranger(uint16_t port, uint32_t index, uint32_t count) : fd(connectTo(port))
    {
        godwit::channel::Preface preface;
        preface.secret = godwit::channel::parseSecret(testSecret).value();
        preface.index = index;
        preface.count = count;
        const auto raw = encodePreface(preface);
        EXPECT_EQ(::send(fd.get(), raw.data(), raw.size(), MSG_NOSIGNAL), static_cast<ssize_t>(raw.size()));
    }
    void send(std::span<const std::byte> data) const { (void)::send(fd.get(), data.data(), data.size(), MSG_NOSIGNAL); }

    UniqueFd fd;
};

} // namespace

TEST_F(Parallel, BringsTheSameMemory)
{
    begin(4);
    run();
    expectSame();
    const auto &done = std::get<Done>(sourceEnd);
    EXPECT_EQ(done.progress.connections, 4u);
    EXPECT_EQ(done.progress.normalPages, 5000u) << "each page once";
    EXPECT_EQ(std::get<Done>(destinationEnd).progress.connections, 4u);
    EXPECT_EQ(std::get<Done>(destinationEnd).progress.streamBytes, done.progress.streamBytes);
}

TEST_F(Parallel, BringsTheSameMemoryOverAsManyConnectionsAsThereMayBe)
{
    begin(godwit::stream::maxConnections);
    run();
    expectSame();
}

TEST_F(Parallel, LosesNothingOfAGuestThatWrites)
{
    TestGuest guest(ram.get(), {.mode = "rewrite", .firstPage = 1000, .pages = 600});
    source.onSuspend = [&] { guest.stop(); };
    Save request;
    request.live = true;
    request.guestPid = static_cast<uint32_t>(guest.pid());
    request.bandwidth = 50 * MiB;   // long enough for more than one round
    request.downtimeMs = 20;
    begin(3, request);
    std::this_thread::sleep_for(500ms);
    source.send(SetLimits{0, 100000});
    run();
    expectSame();
}

TEST_F(Parallel, FailsAsAWholeWhenOneConnectionBreaks)
{
    destination.restore(restoreOver(2), copy.get(), listener.get());
    {
        // A relay on the second connection, which cuts it in the middle of the memory.
        auto [relayListener, relayPort] = makeListener();
        Save request{.guest = "test", .regions = oneRegion(memoryPages), .kind = StreamKind::Channel};
        request.secret = testSecret;
        request.live = true;   // memory before anything is asked of us
        const auto first = connectTo(port);
        std::vector<UniqueFd> further;
        further.push_back(connectTo(relayPort));
        const UniqueFd from(::accept4(relayListener.get(), nullptr, nullptr, SOCK_CLOEXEC));
        const auto to = connectTo(port);
        source.save(request, ram.get(), first.get(), further);
        further.clear();
        std::thread back([&] {
            std::byte accepted;
            if (::recv(to.get(), &accepted, 1, 0) == 1)
                (void)::send(from.get(), &accepted, 1, MSG_NOSIGNAL);
        });
        std::vector<std::byte> buffer(65536);
        for (size_t passed = 0; passed < 1 << 20;) {
            const ssize_t count = ::recv(from.get(), buffer.data(), buffer.size(), 0);
            ASSERT_GT(count, 0);
            ASSERT_EQ(::send(to.get(), buffer.data(), static_cast<size_t>(count), MSG_NOSIGNAL), count);
            passed += static_cast<size_t>(count);
        }
        back.join();
    }
    run();
    EXPECT_NE(failureOf(sourceEnd).find("connection 1"), std::string::npos) << failureOf(sourceEnd);
    EXPECT_NE(failureOf(destinationEnd).find("connection 1: "), std::string::npos) << failureOf(destinationEnd);
    EXPECT_TRUE(destination.stateRead.empty());
}

TEST_F(Parallel, TellsTheSourceTheTrueCauseWhicheverConnectionItShowsOn)
{
    auto smaller = restoreOver(4);
    smaller.regions = oneRegion(200);
    destination.restore(smaller, copy.get(), listener.get());
    send(4);
    run();
    EXPECT_EQ(failureOf(sourceEnd), "destination: " + failureOf(destinationEnd));
    EXPECT_NE(failureOf(sourceEnd).find("is no memory of this guest"), std::string::npos) << failureOf(sourceEnd);
}

TEST_F(Parallel, IsAbortedOnEitherSide)
{
    Save slow;
    slow.live = true;
    slow.bandwidth = 1 * MiB;
    begin(4, slow);
    ASSERT_TRUE(destination.runUntil([](const Message &message) {
        const auto *progress = std::get_if<Progress>(&message);
        return progress && progress->normalPages > 0;
    }));
    destination.send(Abort{"the emulator has ended"});
    run();
    EXPECT_EQ(failureOf(sourceEnd), "destination: the emulator has ended");
}

TEST_F(Parallel, SharesOneBandwidthLimit)
{
    Save slow;
    slow.live = true;
    slow.bandwidth = 1;   // would take forever, on each
    begin(4, slow);
    std::this_thread::sleep_for(100ms);
    source.send(SetLimits{0, 300});
    run();
    expectSame();
}

TEST_F(Parallel, RefusesAPageOnAnotherConnectionThanItsOwn)
{
    destination.restore(restoreOver(2), copy.get(), listener.get());
    const Stranger first(port, 0, 2), second(port, 1, 2);
    godwit::base::Writer record;
    record.u32(1);                 // PAGE_DATA
    record.u32(8 + 8 + 4096);
    record.u32(1);
    record.u32(0);
    record.u64(0);                 // page 0 belongs on the first
    record.zeros(4096);
    second.send(record.data());
    destinationEnd = destination.run();
    EXPECT_EQ(failureOf(destinationEnd), "connection 1: PAGE_DATA at byte 0: page 0x0 belongs on another connection");
}

TEST_F(Parallel, RefusesAnythingButPagesOnAFurtherConnection)
{
    destination.restore(restoreOver(2), copy.get(), listener.get());
    const Stranger first(port, 0, 2), second(port, 1, 2);
    godwit::base::Writer record;
    record.u32(9);                 // HVM_CONTEXT
    record.u32(8);
    record.zeros(8);
    second.send(record.data());
    destinationEnd = destination.run();
    EXPECT_EQ(failureOf(destinationEnd), "connection 1: HVM_CONTEXT at byte 0: does not belong on this connection");
}

TEST_F(Parallel, RefusesMoreConnectionsThanThereMayBe)
{
    for (uint32_t count : {0u, godwit::stream::maxConnections + 1}) {
        HelperProcess helper;
        helper.restore(restoreOver(count), copy.get(), listener.get());
        EXPECT_EQ(failureOf(helper.run()), strprintf("a migration has 1 to 32 connections, not %u", count));
    }
    Save request{.guest = "test", .regions = oneRegion(memoryPages), .kind = StreamKind::Channel};
    request.secret = testSecret;
    std::vector<UniqueFd> further;
    while (further.size() < godwit::stream::maxConnections)
        further.emplace_back(::dup(listener.get()));
    source.save(request, ram.get(), listener.get(), further);
    EXPECT_EQ(failureOf(source.run()), "a migration has 1 to 32 connections, not 33");
}

TEST_F(Parallel, GivesUpWhenAConnectionIsMissing)
{
    const std::string wanted = "the source made only 1 of its 2 connections";
    std::string said;
    // On a busy host the first may be too late for a short patience, too.
    for (uint32_t patienceMs = 200; said != wanted && patienceMs <= 20000; patienceMs *= 10) {
        auto request = restoreOver(2);
        request.connectTimeoutMs = patienceMs;
        HelperProcess helper;
        helper.restore(request, copy.get(), listener.get());
        const Stranger first(port, 0, 2);
        said = failureOf(helper.run());
    }
    EXPECT_EQ(said, wanted);
}

// ---- with TLS: the helpers read their keys before their sandbox closes -----------------------

TEST_F(Parallel, IsEncryptedOnEveryConnection)
{
    const Certificates files;
    sourceTls = {files.directory(), true, "localhost"};
    destinationTls = {files.directory(), true, {}};
    begin(3);
    run();
    expectSame();
}

TEST_F(Parallel, ShowsNothingToADestinationOfAnotherName)
{
    const Certificates files;
    sourceTls = {files.directory(), true, "elsewhere"};
    destinationTls = {files.directory(), true, {}};
    destination.restore(restoreOver(1), copy.get(), listener.get());
    send(1);
    sourceEnd = source.run();
    EXPECT_NE(failureOf(sourceEnd).find("TLS with 'elsewhere'"), std::string::npos) << failureOf(sourceEnd);
    destination.closeControl();
}

TEST_F(Parallel, NamesAKeyThatIsMissing)
{
    const Certificates files;
    files.remove("server-key.pem");
    destinationTls = {files.directory(), true, {}};
    destination.restore(restoreOver(1), copy.get(), listener.get());
    destinationEnd = destination.run();
    EXPECT_NE(failureOf(destinationEnd).find("server-key.pem"), std::string::npos) << failureOf(destinationEnd);
}

TEST_F(Parallel, TakesNothingInTheClearWhereTlsWasAgreedOn)
{
    const Certificates files;
    destinationTls = {files.directory(), true, {}};
    Restore request = restoreOver(1);
    request.connectTimeoutMs = 1000;
    destination.restore(request, copy.get(), listener.get());
    send(1);   // without TLS
    std::thread other([this] { destinationEnd = destination.run(); });
    sourceEnd = source.run();
    other.join();
    EXPECT_NE(failureOf(sourceEnd), "");
    EXPECT_NE(failureOf(destinationEnd), "");
}
