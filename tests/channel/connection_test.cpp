// SPDX-License-Identifier: LGPL-2.1-or-later
// What two processes do with these is in helper_test; here are the corners.
#include "channel/connection.h"

#include <fcntl.h>
#include <future>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <thread>

using namespace godwit::base;
using namespace godwit::channel;
using namespace std::chrono_literals;

namespace {

struct Connection : testing::Test {
    void SetUp() override
    {
        int ends[2];
        ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        source.reset(ends[0]);
        destination.reset(ends[1]);
    }
    Secret secret = parseSecret(std::string(64, '7')).value();
    UniqueFd source, destination;
};

} // namespace

TEST_F(Connection, IsAdmittedWithTheSecretOnly)
{
    Result<void> presented;
    std::thread other([&] { presented = present(source.get(), secret, 30s); });
    EXPECT_TRUE(admit(destination.get(), secret, 30s));
    other.join();
    EXPECT_TRUE(presented);

    Secret wrong = secret;
    wrong[31] ^= std::byte{1};
    other = std::thread([&] { presented = present(source.get(), wrong, 30s); });
    EXPECT_FALSE(admit(destination.get(), secret, 30s));
    destination.reset();
    other.join();
    EXPECT_FALSE(presented);
}

TEST_F(Connection, IsGivenUpWhenNothingComes)
{
    EXPECT_EQ(admit(destination.get(), secret, 10ms).error().code, ErrorCode::TimedOut);
    EXPECT_EQ(present(source.get(), secret, 10ms).error().code, ErrorCode::TimedOut);
}

TEST_F(Connection, BringsTheOutcome)
{
    ASSERT_TRUE(sendOutcome(destination.get(), {}));
    EXPECT_TRUE(receiveOutcome(source.get()));
}

TEST_F(Connection, BringsTheCauseOfAFailureAndEndsAtOnce)
{
    const auto fail = [](int fd) {
        const auto begin = std::chrono::steady_clock::now();
        EXPECT_TRUE(sendOutcome(fd, makeError(ErrorCode::Internal, "no such device")));
        return std::chrono::steady_clock::now() - begin;
    };
    auto heard = std::async(std::launch::async, fail, destination.get());
    EXPECT_EQ(receiveOutcome(source.get()).error().message, "destination: no such device");
    int silent[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, silent), 0);
    const UniqueFd silentSource(silent[0]), itsDestination(silent[1]);
    EXPECT_LT(heard.get(), fail(itsDestination.get())) << "must not wait as for a source that stays";
}

TEST_F(Connection, FailsWhenItEndsWithoutAnOutcome)
{
    for (size_t length : {0u, 1u, 8u, 9u}) {
        SetUp();
        const auto raw = encodeOutcome(OutcomeStatus::Failed, "cut off");
        ASSERT_EQ(::send(destination.get(), raw.data(), length, 0), static_cast<ssize_t>(length));
        destination.reset();
        EXPECT_EQ(receiveOutcome(source.get()).error().message, "the destination closed the data connection");
    }
}

TEST_F(Connection, ShowsAFailedDestinationToTheWriterInTheMiddle)
{
    std::thread other([&] {
        EXPECT_TRUE(sendOutcome(destination.get(), makeError(ErrorCode::Internal, "broken")));
    });
    ChannelSink sink(source.get());
    const std::vector<std::byte> data(1 << 20);
    Result<void> written;
    for (int i = 0; i < 10000 && written; i++)
        written = sink.write(data);
    ASSERT_FALSE(written);
    EXPECT_EQ(written.error().message, "destination: broken");
    other.join();
}

TEST_F(Connection, ShowsADeadDestinationToTheWriter)
{
    destination.reset();
    ChannelSink sink(source.get());
    EXPECT_FALSE(sink.write(std::vector<std::byte>(100)));
}
