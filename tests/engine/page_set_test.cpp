// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/page_set.h"

#include <gtest/gtest.h>
#include <set>

using godwit::engine::PageSet;

TEST(PageSet, AddsRangesLikeSinglePages)
{
    for (uint64_t size : {1u, 63u, 64u, 65u, 200u}) {
        for (uint64_t first = 0; first <= size; first += 7) {
            for (uint64_t end = first; end <= size + 3; end++) {
                PageSet ranged(size), single(size);
                ranged.addRange(first, end);
                for (uint64_t page = first; page < std::min(end, size); page++)
                    single.add(page);
                for (uint64_t page = 0; page < size; page++)
                    ASSERT_EQ(ranged.has(page), single.has(page)) << size << " " << first << " " << end;
                ASSERT_EQ(ranged.count(), end > first ? std::min(end, size) - first : 0);
            }
        }
    }
}

TEST(PageSet, WalksExactlyItsMembers)
{
    PageSet set(1000);
    const std::set<uint64_t> members{0, 1, 63, 64, 127, 128, 500, 998, 999};
    for (uint64_t page : members)
        set.add(page);
    std::set<uint64_t> walked;
    for (uint64_t page = set.next(0); page < set.size(); page = set.next(page + 1))
        walked.insert(page);
    EXPECT_EQ(walked, members);
}

TEST(PageSet, AddsWhatAnotherLacks)
{
    PageSet some(130), others(130), set(130);
    some.addRange(60, 130);
    others.addRange(62, 129);
    set.add(1);
    set.addDifference(some, others);
    for (uint64_t page = 0; page < 130; page++)
        EXPECT_EQ(set.has(page), page == 1 || page == 60 || page == 61 || page == 129) << page;
}

TEST(PageSet, FindsTheEndOfWhatOthersLack)
{
    for (uint64_t units : {64u, 1000u}) {
        PageSet set(300, units), first(300, units), second(300, units);
        set.addRange(0, 150);
        set.addRange(170, 300);
        first.addRange(20, 24);
        second.addRange(190, 192);
        second.add(299);
        const auto is = [&](uint64_t page) { return set.has(page) && !first.has(page) && !second.has(page); };
        for (uint64_t page = 0; page <= 300; page++) {
            for (uint64_t end = page; end <= 300; end++) {
                uint64_t expected = page;
                while (expected < end && is(expected))
                    expected++;
                ASSERT_EQ(set.endWithout(first, second, page, end), expected) << units << " " << page << " " << end;
            }
        }
    }
}

TEST(PageSet, IsEmptyAfterClear)
{
    PageSet set(100);
    set.addRange(0, 100);
    EXPECT_EQ(set.count(), 100u);
    set.clear();
    EXPECT_EQ(set.count(), 0u);
    EXPECT_EQ(set.next(0), 100u);
}

/// So many units for so many pages: the pages that share a unit are members together.
TEST(PageSet, OfManyPagesHasWholeUnits)
{
    for (uint64_t size : {100u, 255u, 256u, 257u, 1000u}) {
        PageSet set(size, /* units= */ 64);
        const uint64_t unit = size <= 128 ? 2 : size <= 256 ? 4 : size <= 512 ? 8 : 16;
        std::set<uint64_t> members;
        const auto expect = [&](uint64_t page) {
            for (uint64_t one = page / unit * unit; one < std::min(size, (page / unit + 1) * unit); one++)
                members.insert(one);
        };
        for (uint64_t page : {uint64_t{0}, uint64_t{37}, size - 1}) {
            set.add(page);
            expect(page);
        }
        set.addRange(50, 70);
        for (uint64_t page = 50; page < 70; page++)
            expect(page);
        std::set<uint64_t> walked;
        for (uint64_t page = set.next(0); page < size; page = set.next(page + 1))
            walked.insert(page);
        EXPECT_EQ(walked, members) << size;
        EXPECT_EQ(set.count(), members.size()) << size;
        EXPECT_EQ(set.next(38), unit == 2 ? 50u : set.has(38) ? 38u : 48u) << size;
    }
}

TEST(PageSet, NeverTakesMoreThanItsLimit)
{
    const uint64_t gib = uint64_t{1} << 18;
    for (uint64_t size : {127 * gib, 128 * gib, 129 * gib, 4096 * gib}) {
        PageSet set(size);
        set.add(size / 3);
        EXPECT_EQ(set.count(), size <= 128 * gib ? 1u : size == 129 * gib ? 2u : 32u);
        EXPECT_TRUE(set.has(size / 3));
        EXPECT_EQ(set.next(size / 3), size / 3);
    }
}
