// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stream/skim_source.h"
#include "tests/stream/streams.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace godwit::stream {

using namespace base;
using namespace tests;

TEST(SkimSource, DoesNotSkipBeyondAFilesEnd)
{
    const UniqueFd file = fileWith(Bytes(100000));
    SkimSource source(file.get());
    EXPECT_TRUE(source.skip(99999));
    EXPECT_FALSE(source.skip(2));
    EXPECT_EQ(source.offset(), 100000u);
    SkimSource another(file.get());
    EXPECT_FALSE(another.skip(~uint64_t{0}));
    EXPECT_EQ(another.size(), 100000u);
}

TEST(SkimSource, SeesAFileGrow)
{
    const UniqueFd file = fileWith(Bytes(10));
    SkimSource source(file.get());
    EXPECT_TRUE(source.skip(10));
    ASSERT_EQ(::pwrite(file.get(), "12345", 5, 10), 5);
    EXPECT_TRUE(source.skip(4));
    std::array<std::byte, 1> last;
    EXPECT_TRUE(source.read(last));
    EXPECT_EQ(last[0], std::byte{'5'});
}

} // namespace godwit::stream
