// SPDX-License-Identifier: LGPL-2.1-or-later
// Somebody else's stream through a migration's connections, with real helpers.
#include "base/bytes.h"
#include "channel/preface.h"
#include "tests/helper/helper_process.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <memory>
#include <optional>
#include <random>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

using namespace godwit::base;
using namespace godwit::control;
using namespace godwit::tests;
using testing::HasSubstr;

namespace {

using Data = std::vector<std::byte>;

struct Pipe {
    Pipe()
    {
        int ends[2];
        EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
        read = UniqueFd(ends[0]);
        write = UniqueFd(ends[1]);
    }
    UniqueFd read, write;
};

Data randomData(size_t size)
{
    std::mt19937_64 random(7);
    Data data(size);
    for (std::byte &byte : data)
        byte = static_cast<std::byte>(random());
    return data;
}

struct RelayTest : testing::Test {
    RelayTest()
    {
        auto [socket, number] = makeListener();
        listener = std::move(socket);
        port = number;
    }
    static Relay order(StreamKind kind, uint32_t connections)
    {
        Relay request{.guest = "test", .kind = kind, .secret = testSecret, .connections = connections};
        request.connectTimeoutMs = 60000;
        return request;
    }
    void receive(uint32_t connections)
    {
        destination.relay(order(StreamKind::Listener, connections), in.write.get(), listener.get());
        in.write.reset();
    }
    void begin(uint32_t connections)
    {
        receive(connections);
        std::vector<UniqueFd> sockets;
        while (sockets.size() < connections)
            sockets.push_back(connectTo(port));
        UniqueFd first = std::move(sockets[0]);
        sockets.erase(sockets.begin());
        source.relay(order(StreamKind::Channel, connections), out.read.get(), first.get(), sockets);
        out.read.reset();
    }
    void feed(const Data &data)
    {
        size_t at = 0;
        while (at < data.size()) {
            const ssize_t written = ::write(out.write.get(), data.data() + at, std::min<size_t>(data.size() - at, 70001));
            if (written < 0)
                break;
            at += static_cast<size_t>(written);
        }
        out.write.reset();
    }
    Data drain()
    {
        Data all;
        std::byte block[65536];
        for (ssize_t got = 0; (got = ::read(in.read.get(), block, sizeof block)) > 0;)
            all.insert(all.end(), block, block + got);
        return all;
    }
    void run(const Data &data, Data &arrived)
    {
        std::thread feeder([&] { feed(data); });
        std::thread drainer([&] { arrived = drain(); });
        std::thread other([&] { destinationEnd = destination.run(); });
        sourceEnd = source.run();
        feeder.join();
        drainer.join();
        other.join();
    }

    Pipe out, in;
    UniqueFd listener;
    uint16_t port = 0;
    HelperProcess source, destination;
    Message sourceEnd, destinationEnd;
};

/// A source of our own: a connection with its preface, and blocks.
struct Lane {
    Lane(uint16_t port, uint32_t index, uint32_t count) : fd(connectTo(port))
    {
        godwit::channel::Preface preface;
        preface.secret = godwit::channel::parseSecret(testSecret).value();
        preface.index = index;
        preface.count = count;
        send(encodePreface(preface));
    }
    void send(std::span<const std::byte> data) const { (void)::send(fd.get(), data.data(), data.size(), MSG_NOSIGNAL); }
    void block(uint64_t number, uint32_t size, uint32_t padding = 0) const
    {
        Writer header;
        header.u64(number);
        header.u32(size);
        header.u32(padding);
        send(header.data());
        if (size <= 4096)
            send(Data(size, std::byte{1}));
    }
    UniqueFd fd;
};

} // namespace

TEST_F(RelayTest, BringsTheSameBytes)
{
    const Data data = randomData(9000001);
    Data arrived;
    begin(1);
    run(data, arrived);
    EXPECT_EQ(failureOf(sourceEnd) + failureOf(destinationEnd), "");
    EXPECT_TRUE(arrived == data) << arrived.size();
    EXPECT_EQ(std::get<Done>(sourceEnd).progress.streamBytes, data.size());
}

TEST_F(RelayTest, BringsTheSameBytesOverSeveralConnections)
{
    const Data data = randomData(9000001);
    Data arrived;
    begin(5);
    run(data, arrived);
    EXPECT_EQ(failureOf(sourceEnd) + failureOf(destinationEnd), "");
    EXPECT_TRUE(arrived == data) << arrived.size();
    EXPECT_EQ(std::get<Done>(destinationEnd).progress.connections, 5u);
}

TEST_F(RelayTest, MayBringNothing)
{
    Data arrived;
    begin(3);
    run({}, arrived);
    EXPECT_EQ(failureOf(sourceEnd) + failureOf(destinationEnd), "");
    EXPECT_TRUE(arrived.empty());
}

TEST_F(RelayTest, TellsTheSourceWhenNobodyReadsAnyMore)
{
    begin(2);
    in.read.reset();
    std::thread feeder([&] { feed(randomData(9000001)); });
    std::thread other([&] { destinationEnd = destination.run(); });
    sourceEnd = source.run();
    source.wait();
    feeder.join();
    other.join();
    EXPECT_NE(failureOf(destinationEnd), "");
    EXPECT_NE(failureOf(sourceEnd), "");
}

TEST_F(RelayTest, TellsTheSourceWhyItWasAborted)
{
    begin(2);
    ASSERT_EQ(::write(out.write.get(), "x", 1), 1);
    std::byte first;
    ASSERT_EQ(::read(in.read.get(), &first, 1), 1);
    destination.send(Abort{"the guest does not fit"});
    std::thread feeder([&] { feed(randomData(9000001)); });
    sourceEnd = source.run();
    source.wait();
    feeder.join();
    EXPECT_THAT(failureOf(sourceEnd), HasSubstr("the guest does not fit"));
}

TEST_F(RelayTest, RefusesBlocksThatMakeNoStream)
{
    using Say = std::function<void(const Lane &, const Lane &)>;
    const std::pair<const char *, Say> cases[] = {
        {"one is missing", [](const Lane &a, const Lane &b) { a.block(1, 10), b.block(2, 10); }},
        {"one comes twice", [](const Lane &a, const Lane &b) { a.block(0, 10), b.block(0, 10); }},
        {"one goes back", [](const Lane &a, const Lane &) { a.block(0, 10), a.block(1, 10), a.block(0, 10); }},
        {"it is too large", [](const Lane &a, const Lane &) { a.block(0, 1024 * 1024 + 1); }},
        {"its padding is not zero", [](const Lane &a, const Lane &) { a.block(0, 10, 1); }},
        {"the end comes too early", [](const Lane &a, const Lane &b) { a.block(0, 10), b.block(0, 0), a.block(1, 0); }},
        {"the ends disagree", [](const Lane &a, const Lane &b) { a.block(0, 10), a.block(1, 0), b.block(2, 0); }},
        {"it goes on after its end", [](const Lane &a, const Lane &b) { a.block(0, 0), b.block(0, 10); }},
        {"a connection just ends", [](const Lane &a, const Lane &b) { a.block(0, 10), ::shutdown(b.fd.get(), SHUT_WR); }},
    };
    // All at once: each waits a moment for its source, which is not going to listen.
    struct Victim {
        HelperProcess process;
        Pipe pipe;
        std::optional<Lane> a, b;
    };
    std::vector<std::unique_ptr<Victim>> victims;
    for (const auto &[name, say] : cases) {
        Victim &victim = *victims.emplace_back(std::make_unique<Victim>());
        auto [socket, number] = makeListener();
        victim.process.relay(order(StreamKind::Listener, 2), victim.pipe.write.get(), socket.get());
        victim.pipe.write.reset();
        say(victim.a.emplace(number, 0, 2), victim.b.emplace(number, 1, 2));
    }
    for (size_t i = 0; i < victims.size(); i++)
        EXPECT_NE(failureOf(victims[i]->process.run()), "") << cases[i].first;
}

TEST_F(RelayTest, WantsTheSecretAndConnections)
{
    for (const Relay &wrong : {order(StreamKind::Plain, 1), order(StreamKind::Listener, 33), Relay{.secret = "short"}}) {
        HelperProcess victim;
        Pipe pipe;
        victim.relay(wrong, pipe.write.get(), listener.get());
        EXPECT_NE(failureOf(victim.run()), "");
    }
}
