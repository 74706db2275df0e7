// SPDX-License-Identifier: LGPL-2.1-or-later
// What two processes do with these is in helper_test; here are the corners.
#include "channel/admission.h"

#include <array>
#include <future>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <thread>

using namespace godwit::base;
using namespace godwit::channel;
using namespace std::chrono_literals;

namespace {

/// A migration's connections, both ends.
struct Connection : testing::Test {
    void SetUp() override { connect(1); }
    void connect(size_t count)
    {
        sources.clear();
        destinations.clear();
        while (sources.size() < count) {
            int ends[2];
            ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
            sources.push_back(std::make_unique<Socket>(UniqueFd(ends[0])));
            destinations.push_back(std::make_unique<Socket>(UniqueFd(ends[1])));
        }
    }
    Socket &source() { return *sources[0]; }
    Socket &destination() { return *destinations[0]; }

    Secret secret = parseSecret(std::string(64, '7')).value();
    Sockets sources, destinations;
    Interrupt interrupt;
};

/// Write until it fails.
Error failureOf(ChannelSink &sink)
{
    const std::vector<std::byte> data(1 << 20);
    Result<void> written;
    for (int i = 0; i < 10000 && written; i++)
        written = sink.write(data);
    return written ? makeError(ErrorCode::Internal, "written") : written.error();
}

} // namespace

TEST_F(Connection, IsAdmittedWithTheSecretOnly)
{
    Result<void> presented;
    std::thread other([&] { presented = present(sources, secret, 60s); });
    EXPECT_TRUE(admit(destination(), secret, 60s));
    other.join();
    EXPECT_TRUE(presented);

    Secret wrong = secret;
    wrong[31] ^= std::byte{1};
    other = std::thread([&] { presented = present(sources, wrong, 60s); });
    EXPECT_FALSE(admit(destination(), secret, 60s));
    destinations.clear();
    other.join();
    EXPECT_FALSE(presented);
}

TEST_F(Connection, IsGivenUpWhenNothingComes)
{
    EXPECT_EQ(admit(destination(), secret, 10ms).error().code, ErrorCode::TimedOut);
    EXPECT_EQ(present(sources, secret, 10ms).error().code, ErrorCode::TimedOut);
}

TEST_F(Connection, BringsTheOutcome)
{
    ASSERT_TRUE(sendOutcome(destination(), {}));
    OutcomeReader outcome(source());
    EXPECT_TRUE(outcome.await());
    EXPECT_TRUE(outcome.await()) << "it stands";
}

TEST_F(Connection, BringsTheCauseOfAFailureAndEndsAtOnce)
{
    const auto fail = [](Socket *socket) {
        const auto begin = std::chrono::steady_clock::now();
        EXPECT_TRUE(sendOutcome(*socket, makeError(ErrorCode::Internal, "no such device")));
        return std::chrono::steady_clock::now() - begin;
    };
    const auto whenUnheard = fail(&destination());
    auto whenHeard = whenUnheard;
    // A busy host may hold up anything, but not each time.
    for (int i = 0; i < 10 && whenHeard >= whenUnheard; i++) {
        connect(1);
        auto heard = std::async(std::launch::async, fail, &destination());
        EXPECT_EQ(OutcomeReader(source()).await().error().message, "destination: no such device");
        whenHeard = heard.get();
    }
    EXPECT_LT(whenHeard, whenUnheard) << "must not wait as for a source that stays";
}

TEST_F(Connection, FailsWhenItEndsWithoutAnOutcome)
{
    for (size_t length : {0u, 1u, 8u, 9u}) {
        connect(1);
        const auto raw = encodeOutcome(OutcomeStatus::Failed, "cut off");
        ASSERT_EQ(::send(destination().fd(), raw.data(), length, 0), static_cast<ssize_t>(length));
        destinations.clear();
        EXPECT_EQ(OutcomeReader(source()).await().error().message, "the destination closed the data connection");
    }
}

TEST_F(Connection, ShowsAFailedDestinationToTheWriterInTheMiddle)
{
    std::thread other([&] {
        EXPECT_TRUE(sendOutcome(destination(), makeError(ErrorCode::Internal, "broken")));
    });
    OutcomeReader outcome(source());
    ChannelSink sink(source(), 0, outcome, interrupt);
    EXPECT_EQ(failureOf(sink).message, "destination: broken");
    other.join();
}

TEST_F(Connection, ShowsADeadDestinationToTheWriter)
{
    destinations.clear();
    OutcomeReader outcome(source());
    ChannelSink sink(source(), 0, outcome, interrupt);
    EXPECT_EQ(failureOf(sink).message, "the destination closed the data connection");
}

TEST_F(Connection, ThatBreaksAsksTheFirstForTheCause)
{
    connect(2);
    sendOutcomeAtOnce(destination(), "the emulator has ended");
    destinations[1].reset();
    OutcomeReader outcome(source());
    ChannelSink sink(*sources[1], 1, outcome, interrupt);
    EXPECT_EQ(failureOf(sink).message, "destination: the emulator has ended");
    ChannelSink first(source(), 0, outcome, interrupt);
    EXPECT_EQ(failureOf(first).message, "destination: the emulator has ended") << "the cause is told to all";
}

TEST_F(Connection, ThatBreaksAloneIsNamed)
{
    connect(3);
    destinations[2].reset();
    OutcomeReader outcome(source());
    ChannelSink sink(*sources[2], 2, outcome, interrupt);
    EXPECT_EQ(failureOf(sink).message, "connection 2: the destination closed the data connection");
}

TEST_F(Connection, IsLeftWhenAnotherHasFailed)
{
    OutcomeReader outcome(source());
    ChannelSink sink(source(), 0, outcome, interrupt);
    auto writer = std::async(std::launch::async, [&] { return failureOf(sink); });
    std::this_thread::sleep_for(20ms);   // most likely it is stuck by now
    interrupt.trip();
    EXPECT_EQ(writer.get().code, ErrorCode::Aborted);

    connect(1);
    const Interrupt another;
    ChannelSource silent(destination(), another);
    auto reader = std::async(std::launch::async, [&] {
        std::array<std::byte, 1> byte;
        return silent.read(byte);
    });
    std::this_thread::sleep_for(20ms);
    another.trip();
    EXPECT_EQ(reader.get().error().code, ErrorCode::Aborted);
}
