// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/device_state.h"

#include "base/unique_fd.h"
#include "stream/libxl_format.h"
#include "tests/engine/test_host.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <thread>

using namespace godwit::base;
using godwit::engine::DeviceStateReader;
using Kept = godwit::engine::DeviceState;

namespace {

struct ReadDeviceState : testing::Test {
    void SetUp() override
    {
        int ends[2];
        ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
        read.reset(ends[0]);
        write.reset(ends[1]);
    }
    UniqueFd read, write;
};

} // namespace

TEST_F(ReadDeviceState, IsReadToTheEndWhileItIsWritten)
{
    DeviceStateReader reader(read.get());
    ASSERT_TRUE(reader.start());
    // Far more than a pipe holds: would block here if nobody read.
    const std::vector<char> chunk(1 << 20, 'q');
    for (int i = 0; i < 3; i++)
        ASSERT_EQ(::write(write.get(), chunk.data(), chunk.size()), static_cast<ssize_t>(chunk.size()));
    write.reset();
    const auto state = reader.finish();
    ASSERT_TRUE(state);
    EXPECT_EQ(godwit::tests::textOf(*state), std::string(3 << 20, 'q'));
}

TEST_F(ReadDeviceState, MustNotBeEmpty)
{
    DeviceStateReader reader(read.get());
    ASSERT_TRUE(reader.start());
    write.reset();
    EXPECT_FALSE(reader.finish());
}

TEST_F(ReadDeviceState, DoesNotHoldUpAFailureElsewhere)
{
    // The state's end never comes: only its destruction ends the reader.
    DeviceStateReader reader(read.get());
    ASSERT_TRUE(reader.start());
}

/// QEMU stops its guest only when it has got rid of what comes before; the cause is told in the end.
TEST_F(ReadDeviceState, IsReadToTheEndThoughItCannotBeKept)
{
    const char *before = ::getenv("TMPDIR");
    const std::string kept = before ? before : "";
    ::setenv("TMPDIR", "/nowhere", 1);
    DeviceStateReader reader(read.get());
    ASSERT_TRUE(reader.start());
    const std::vector<std::byte> chunk(Kept::maxInMemory / 2);
    for (int i = 0; i < 4; i++)
        ASSERT_EQ(::write(write.get(), chunk.data(), chunk.size()), static_cast<ssize_t>(chunk.size()));
    write.reset();
    const auto state = reader.finish();
    before ? ::setenv("TMPDIR", kept.c_str(), 1) : ::unsetenv("TMPDIR");
    ASSERT_FALSE(state);
    EXPECT_NE(state.error().message.find("too much for memory"), std::string::npos) << state.error().message;
}

TEST(KeptDeviceState, IsTheSameWhereverItIsKept)
{
    // Two and a half times what memory takes, in pieces that fit nowhere.
    std::string whole(Kept::maxInMemory / 2 * 5, '\0');
    for (size_t i = 0; i < whole.size(); i++)
        whole[i] = static_cast<char>(i * 2654435761u >> 24);
    Kept state;
    constexpr size_t piece = 999'999;
    for (size_t at = 0; at < whole.size(); at += piece)
        ASSERT_TRUE(state.append(std::as_bytes(std::span(whole)).subspan(at, std::min(piece, whole.size() - at))));
    EXPECT_EQ(state.size(), whole.size());
    EXPECT_TRUE(godwit::tests::textOf(state) == whole);   // no 40 MiB of text if not
}

TEST(KeptDeviceState, NamesTheFolderThatTakesNoFile)
{
    Kept state("/proc/self");
    const std::vector<std::byte> chunk(Kept::maxInMemory);
    ASSERT_TRUE(state.append(chunk));
    const auto more = state.append(std::span(chunk).first(1));
    ASSERT_FALSE(more);
    EXPECT_NE(more.error().message.find("too much for memory"), std::string::npos) << more.error().message;
    EXPECT_NE(more.error().message.find("/proc/self"), std::string::npos) << more.error().message;
}

TEST(KeptDeviceState, HasALimit)
{
    Kept state;
    const std::vector<std::byte> chunk(Kept::maxInMemory);
    for (size_t i = 0; i < godwit::stream::libxl::maxDeviceState / chunk.size(); i++)
        ASSERT_TRUE(state.append(chunk));
    EXPECT_FALSE(state.append(std::span(chunk).first(1)));
}
