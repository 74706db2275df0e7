// SPDX-License-Identifier: LGPL-2.1-or-later
#include "control/connection.h"

#include "control/codec.h"
#include "tests/control/corpus.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>

using namespace godwit::base;
using namespace godwit::control;

namespace {

struct Connection : testing::Test {
    void SetUp() override
    {
        auto ends = makeConnection();
        ASSERT_TRUE(ends);
        driver = std::move(ends->first);
        helper = std::move(ends->second);
    }
    void makeNonBlocking(const UniqueFd &fd) { ASSERT_EQ(::fcntl(fd.get(), F_SETFL, O_NONBLOCK), 0); }
    static size_t openFds()
    {
        size_t count = 0;
        for (int fd = 0; fd < 256; fd++)
            count += ::fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
        return count;
    }
    UniqueFd driver, helper;
};

} // namespace

TEST_F(Connection, CarriesEveryMessageWithItsFds)
{
    for (const Message &message : sampleMessages()) {
        const std::vector<int> fds(fdCountOf(message), 0);
        ASSERT_TRUE(send(driver.get(), message, fds));
        auto received = receive(helper.get());
        ASSERT_TRUE(received) << received.error().message;
        ASSERT_EQ(received->state, Received::State::Arrived);
        EXPECT_TRUE(received->message == message) << nameOf(message);
        ASSERT_EQ(received->fds.size(), fds.size());
        for (const UniqueFd &fd : received->fds) {
            struct stat mine{}, theirs{};
            ASSERT_EQ(::fstat(fd.get(), &theirs), 0);
            ASSERT_EQ(::fstat(0, &mine), 0);
            EXPECT_EQ(mine.st_ino, theirs.st_ino);
            EXPECT_TRUE(::fcntl(fd.get(), F_GETFD) & FD_CLOEXEC);
        }
    }
}

TEST_F(Connection, SaysWhenNothingWaits)
{
    makeNonBlocking(driver);
    EXPECT_EQ(receive(driver.get())->state, Received::State::Nothing);
}

TEST_F(Connection, SaysWhenThePeerIsGoneAfterItsLastMessage)
{
    ASSERT_TRUE(send(helper.get(), Hello{}));
    helper.reset();
    EXPECT_EQ(receive(driver.get())->state, Received::State::Arrived);
    EXPECT_EQ(receive(driver.get())->state, Received::State::Closed);
    EXPECT_FALSE(send(driver.get(), Abort{}));
}

TEST_F(Connection, ClosesFdsThatNobodyAskedFor)
{
    const size_t before = openFds();
    auto frame = encode(Abort{}).value();
    iovec data{frame.data(), frame.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr header{};
    header.msg_iov = &data;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    cmsghdr *rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    ASSERT_GT(::sendmsg(driver.get(), &header, 0), 0);
    EXPECT_FALSE(receive(helper.get()));
    EXPECT_EQ(openFds(), before);
}

TEST_F(Connection, RefusesAMessageWithoutItsFds)
{
    EXPECT_FALSE(send(driver.get(), Save{}));
    const auto frame = encode(Save{}).value();
    ASSERT_EQ(::send(driver.get(), frame.data(), frame.size(), 0), static_cast<ssize_t>(frame.size()));
    EXPECT_FALSE(receive(helper.get()));
}

TEST_F(Connection, RefusesADatagramBeyondTheLimit)
{
    const std::vector<std::byte> tooLong(maxFrame + 100);
    ASSERT_GT(::send(driver.get(), tooLong.data(), tooLong.size(), 0), 0);
    EXPECT_FALSE(receive(helper.get()));
}

TEST_F(Connection, GivesUpOnAPeerThatDoesNotRead)
{
    Result<void> sent;
    for (int i = 0; i < 100000 && sent; i++)
        sent = send(driver.get(), Abort{}, {}, std::chrono::milliseconds(10));
    ASSERT_FALSE(sent);
    EXPECT_EQ(sent.error().code, ErrorCode::TimedOut);
}
