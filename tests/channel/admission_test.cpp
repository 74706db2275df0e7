// SPDX-License-Identifier: LGPL-2.1-or-later
#include "channel/admission.h"

#include <array>
#include <future>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

using namespace godwit::base;
using namespace godwit::channel;
using namespace std::chrono_literals;

namespace {

struct Admission : testing::Test {
    void SetUp() override
    {
        listener.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address.sin_port = 0;
        ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr *>(&address), sizeof address), 0);
        ASSERT_EQ(::listen(listener.get(), 100), 0);
        socklen_t length = sizeof address;
        ASSERT_EQ(::getsockname(listener.get(), reinterpret_cast<sockaddr *>(&address), &length), 0);
        expected = {parseSecret(std::string(64, '7')).value(), 3, 60s, 60s};
    }
    void TearDown() override
    {
        if (admitting.valid())
            admitting.wait();
    }

    void begin()
    {
        admitting = std::async(std::launch::async, [this] { return acceptPeers(listener.get(), expected); });
    }
    std::unique_ptr<Socket> connect()
    {
        UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr *>(&address), sizeof address), 0);
        return std::make_unique<Socket>(std::move(fd));
    }
    std::unique_ptr<Socket> show(uint32_t index, uint32_t count = 3)
    {
        auto socket = connect();
        Preface preface;
        preface.secret = expected.secret;
        preface.index = index;
        preface.count = count;
        EXPECT_TRUE(sendAll(*socket, encodePreface(preface), Clock::now() + 60s));
        return socket;
    }
    /// The destination's answer; false: it has closed the connection.
    static bool isAdmitted(Socket &socket)
    {
        std::array<std::byte, 1> answer{};
        const auto got = receiveAll(socket, answer, Clock::now() + 60s);
        return got && *got && answer[0] == accepted;
    }

    UniqueFd listener;
    sockaddr_in address{};
    Expected expected;
    std::future<Result<Sockets>> admitting;
};

} // namespace

TEST_F(Admission, TakesTheConnectionsInAnyOrderAndKeepsTheirs)
{
    begin();
    const auto two = show(2), none = show(0), one = show(1);
    for (const auto *socket : {&two, &none, &one})
        EXPECT_TRUE(isAdmitted(**socket));
    const auto admitted = admitting.get();
    ASSERT_TRUE(admitted);
    ASSERT_EQ(admitted->size(), 3u);
    uint32_t index = 0;
    for (const auto *socket : {&none, &one, &two}) {
        const std::byte mark{42};
        ASSERT_TRUE(sendAll(**socket, {&mark, 1}, Clock::now() + 60s));
        std::array<std::byte, 1> got{};
        EXPECT_TRUE(receiveAll(*(*admitted)[index++], got, Clock::now() + 60s).value_or(false));
        EXPECT_EQ(got[0], mark);
    }
}

TEST_F(Admission, IsShownByAllConnectionsAtOnce)
{
    expected.count = godwit::stream::maxConnections;
    begin();
    Sockets sockets;
    while (sockets.size() < expected.count)
        sockets.push_back(connect());
    EXPECT_TRUE(present(sockets, expected.secret, 60s));
    EXPECT_TRUE(admitting.get());
}

TEST_F(Admission, ClosesWhoeverDoesNotBelongAndWaitsForTheRest)
{
    begin();
    const auto first = show(0);
    EXPECT_TRUE(isAdmitted(*first));
    EXPECT_FALSE(isAdmitted(*show(0))) << "the same index twice";
    EXPECT_FALSE(isAdmitted(*show(3))) << "an index beyond the count";
    EXPECT_FALSE(isAdmitted(*show(1, 2))) << "fewer connections than agreed";
    EXPECT_FALSE(isAdmitted(*show(1, 4))) << "more connections than agreed";
    EXPECT_FALSE(isAdmitted(*show(1, godwit::stream::maxConnections + 1))) << "too many connections";
    const auto silent = connect();
    const auto one = show(1), two = show(2);
    EXPECT_TRUE(isAdmitted(*one));
    EXPECT_TRUE(isAdmitted(*two));
    EXPECT_TRUE(admitting.get());
    EXPECT_FALSE(isAdmitted(*silent)) << "closed once all are there";
}

TEST_F(Admission, RefusesAWrongSecretOnAFurtherConnection)
{
    begin();
    const auto first = show(0);
    EXPECT_TRUE(isAdmitted(*first));
    const auto socket = connect();
    Preface preface;
    preface.secret = expected.secret;
    preface.secret[0] ^= std::byte{1};
    preface.index = 1;
    preface.count = 3;
    ASSERT_TRUE(sendAll(*socket, encodePreface(preface), Clock::now() + 60s));
    EXPECT_FALSE(isAdmitted(*socket));
    const auto one = show(1), two = show(2);
    EXPECT_TRUE(admitting.get());
}

TEST_F(Admission, GivesUpWhenConnectionsAreMissing)
{
    const std::string wanted = "the source made only 2 of its 3 connections";
    std::string said;
    // On a busy host they may be too late for a short patience.
    for (milliseconds patience = 100ms; said != wanted && patience <= 100s; patience *= 10) {
        SetUp();
        expected.connectTimeout = patience;
        const auto first = show(0), second = show(1), silent = connect();
        begin();
        const auto admitted = admitting.get();
        ASSERT_FALSE(admitted);
        EXPECT_EQ(admitted.error().code, ErrorCode::TimedOut);
        said = admitted.error().message;
    }
    EXPECT_EQ(said, wanted);
}

TEST_F(Admission, ClosesSilentConnectorsAfterAWhile)
{
    expected.prefaceTimeout = 20ms;
    begin();
    const auto silent = connect();
    EXPECT_FALSE(isAdmitted(*silent));
    EXPECT_EQ(admitting.wait_for(0s), std::future_status::timeout) << "the right ones are still awaited";
    ::shutdown(listener.get(), SHUT_RDWR);
}

TEST_F(Admission, SurvivesAFloodOfSilentConnectors)
{
    begin();
    Sockets crowd;
    while (crowd.size() < 80)
        crowd.push_back(connect());
    const auto none = show(0), one = show(1), two = show(2);
    EXPECT_TRUE(admitting.get());
}
