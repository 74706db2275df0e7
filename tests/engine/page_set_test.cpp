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
    EXPECT_EQ(set.nextAbsent(0), 2u);
    EXPECT_EQ(set.nextAbsent(998), 1000u);
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

TEST(PageSet, IsEmptyAfterClear)
{
    PageSet set(100);
    set.addRange(0, 100);
    EXPECT_EQ(set.count(), 100u);
    set.clear();
    EXPECT_EQ(set.count(), 0u);
    EXPECT_EQ(set.next(0), 100u);
}
