// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/device_state.h"

#include "base/unique_fd.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <thread>

using namespace godwit::base;
using godwit::engine::DeviceStateReader;

namespace {

struct DeviceState : testing::Test {
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

TEST_F(DeviceState, IsReadToTheEndWhileItIsWritten)
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
    EXPECT_EQ(state->size(), 3 * chunk.size());
    EXPECT_EQ(state->back(), std::byte{'q'});
}

TEST_F(DeviceState, MustNotBeEmpty)
{
    DeviceStateReader reader(read.get());
    ASSERT_TRUE(reader.start());
    write.reset();
    EXPECT_FALSE(reader.finish());
}

TEST_F(DeviceState, DoesNotHoldUpAFailureElsewhere)
{
    // The state's end never comes: only its destruction ends the reader.
    DeviceStateReader reader(read.get());
    ASSERT_TRUE(reader.start());
}
