// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/memory_map.h"

#include "tests/engine/test_guest.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

using namespace godwit::base;
using namespace godwit::engine;
using namespace godwit::tests;

static Result<void> tryMap(uint64_t filePages, std::vector<Region> regions)
{
    const auto ram = makeRam(filePages);
    TRY(MemoryMap::make(ram.get(), std::move(regions)));
    return {};
}

TEST(MemoryMap, FindsPagesAcrossTheHoleBelow4GiB)
{
    const auto ram = makeRam(100);
    fillRam(ram.get(), 0, 100);
    // As a PC has it: low memory, a hole, the rest from 4 GiB.
    const auto memory = MemoryMap::make(ram.get(), {{Pfn{1 << 20}, 60, 40}, {Pfn{0}, 0, 60}});
    ASSERT_TRUE(memory) << memory.error().message;
    EXPECT_EQ(memory->guestPages(), 100u);
    EXPECT_EQ(memory->find(Pfn{59}), 59u);
    EXPECT_EQ(memory->find(Pfn{60}), std::nullopt);
    EXPECT_EQ(memory->find(Pfn{(1 << 20) - 1}), std::nullopt);
    EXPECT_EQ(memory->find(Pfn{(1 << 20) + 39}), 99u);
    EXPECT_EQ(memory->find(Pfn{(1 << 20) + 40}), std::nullopt);
    EXPECT_EQ(memory->find(Pfn{~uint64_t{0}}), std::nullopt);
    EXPECT_EQ(memory->regions()[0].firstPfn.value, 0u);
}

TEST(MemoryMap, RefusesRegionsThatOverlapOrLieOutside)
{
    EXPECT_TRUE(tryMap(10, {{Pfn{0}, 0, 10}}));
    EXPECT_FALSE(tryMap(10, {{Pfn{0}, 0, 11}}));
    EXPECT_FALSE(tryMap(10, {{Pfn{0}, 1, 10}}));
    EXPECT_FALSE(tryMap(10, {{Pfn{0}, ~uint64_t{0}, 1}}));
    EXPECT_FALSE(tryMap(10, {{Pfn{0}, 0, ~uint64_t{0}}}));
    EXPECT_FALSE(tryMap(10, {{Pfn{(uint64_t{1} << 52) - 1}, 0, 2}}));
    EXPECT_FALSE(tryMap(10, {{Pfn{0}, 0, 0}}));
    EXPECT_FALSE(tryMap(10, {}));
    EXPECT_FALSE(tryMap(10, {{Pfn{0}, 0, 6}, {Pfn{5}, 6, 4}}));
    EXPECT_FALSE(tryMap(10, {{Pfn{0}, 0, 6}, {Pfn{100}, 5, 4}}));
    EXPECT_TRUE(tryMap(10, {{Pfn{0}, 5, 5}, {Pfn{5}, 0, 5}}));
}

TEST(MemoryMap, TellsHolesFromPages)
{
    const auto ram = makeRam(64);
    fillRam(ram.get(), 3, 2);
    fillRam(ram.get(), 63, 1);
    const auto memory = MemoryMap::make(ram.get(), {{Pfn{0}, 0, 64}});
    ASSERT_TRUE(memory);
    const auto present = memory->presentPages();
    ASSERT_TRUE(present);
    for (uint64_t page = 0; page < 64; page++)
        EXPECT_EQ(present->has(page), page == 3 || page == 4 || page == 63) << page;
    EXPECT_EQ(allocatedPages(ram.get()), 3u) << "looking must not fill holes";
}

TEST(MemoryMap, ReadsPagesAndLeavesHoles)
{
    const auto ram = makeRam(8);
    fillRam(ram.get(), 1, 2);
    const auto memory = MemoryMap::make(ram.get(), {{Pfn{0}, 0, 8}});
    ASSERT_TRUE(memory);
    std::vector<std::byte> read(4 * pageSize, std::byte{0xff});
    ASSERT_TRUE(memory->read(0, read));
    EXPECT_EQ(allocatedPages(ram.get()), 2u);
    EXPECT_TRUE(std::equal(read.begin(), read.end(), RamView(ram.get()).page(0)));
    EXPECT_FALSE(memory->read(5, read)) << "beyond the file";
}

TEST(MemoryMap, WritesPagesAndNothingBeside)
{
    const auto ram = makeRam(8);
    const auto memory = MemoryMap::make(ram.get(), {{Pfn{0}, 0, 8}});
    ASSERT_TRUE(memory);
    const std::vector<std::byte> data(2 * pageSize, std::byte{7});
    ASSERT_TRUE(memory->write(3, data));
    EXPECT_EQ(allocatedPages(ram.get()), 2u);
    EXPECT_TRUE(std::equal(data.begin(), data.end(), RamView(ram.get()).page(3)));
}

TEST(MemoryMap, TellsOfAFewPagesWhetherTheyExist)
{
    const auto ram = makeRam(20000);
    fillRam(ram.get(), 10, 10);
    const auto memory = MemoryMap::make(ram.get(), {{Pfn{0}, 0, 20000}});
    ASSERT_TRUE(memory);
    EXPECT_EQ(memory->allocatedPages().value(), 10u);
    PageSet some(20000), all(20000);
    for (uint64_t page : {0, 9, 10, 11, 15, 19, 20, 19999})
        some.add(page);
    all.addRange(0, 20000);
    const auto few = memory->presentAmong(some), many = memory->presentAmong(all);
    ASSERT_TRUE(few && many);
    for (uint64_t page = 0; page < 20000; page++) {
        EXPECT_EQ(few->has(page), page == 10 || page == 11 || page == 15 || page == 19) << page;
        EXPECT_EQ(many->has(page), page >= 10 && page < 20) << page;
    }
}
