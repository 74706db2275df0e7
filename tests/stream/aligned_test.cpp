// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stream/aligned.h"

#include "base/bytes.h"
#include "tests/stream/streams.h"

#include <gtest/gtest.h>

namespace godwit::stream {

using namespace base;
using namespace tests;

namespace {

constexpr uint64_t fourGiB = uint64_t{1} << 20;   // as a pfn
constexpr AlignedIndex small{.firstBatch = 8192, .headSize = 4096, .batchPages = 8};

AlignedLayout layoutOf(std::vector<PageRun> memory, const AlignedIndex &index = {})
{
    auto layout = AlignedLayout::make(index, memory);
    EXPECT_TRUE(layout) << layout.error().message;
    return *layout;
}

bool refuses(std::vector<PageRun> memory, const AlignedIndex &index = {})
{
    const auto layout = AlignedLayout::make(index, memory);
    return !layout && !layout.error().message.empty();
}

} // namespace

TEST(AlignedLayout, PutsBatchesAtAConstantStride)
{
    const auto layout = layoutOf({{Pfn{0}, 5000}});
    EXPECT_EQ(layout.batches(), 5u);
    constexpr uint64_t stride = 4 * MiB + 12 * KiB;
    for (uint64_t number = 0; number < 5; number++) {
        const Batch batch = layout.batch(number);
        EXPECT_EQ(batch.offset, 4096 + number * stride);
        EXPECT_EQ(batch.dataOffset, batch.offset + 12 * KiB);
        EXPECT_EQ(batch.first, Pfn{number * 1024});
        EXPECT_EQ(batch.pages, number < 4 ? 1024u : 5000 - 4096u);
    }
    EXPECT_EQ(layout.end(), 4096 + 4 * stride + 12 * KiB + (5000 - 4096) * pageSize);
}

TEST(AlignedLayout, GivesEveryPageExactlyOnePlaceAndLeavesNoRoom)
{
    const std::vector<std::vector<PageRun>> guests{
        {{Pfn{0}, 1}}, {{Pfn{0}, 8}}, {{Pfn{0}, 9}}, {{Pfn{3}, 8}},
        {{Pfn{0}, 13}, {Pfn{fourGiB}, 20}}, {{Pfn{0}, 8}, {Pfn{8}, 1}, {Pfn{100}, 16}},
    };
    for (const auto &guest : guests) {
        const auto layout = layoutOf(guest, small);
        uint64_t next = small.firstBatch, number = 0;
        for (const PageRun &run : guest) {
            for (uint64_t i = 0; i < run.pages; i++) {
                if (i % small.batchPages == 0) {
                    EXPECT_EQ(layout.batch(number).offset, next);
                    number++;
                    next += small.headSize;
                }
                const Pfn pfn{run.first.value + i};
                EXPECT_EQ(layout.batchOf(pfn), number - 1);
                EXPECT_EQ(layout.pageOffset(pfn), next);
                next += pageSize;
            }
        }
        EXPECT_EQ(layout.batches(), number);
        EXPECT_EQ(layout.end(), next);
    }
}

TEST(AlignedLayout, KnowsNoPageBetweenAndBehindTheRuns)
{
    const auto layout = layoutOf({{Pfn{10}, 20}, {Pfn{fourGiB}, 1}}, small);
    for (uint64_t pfn : {uint64_t{0}, uint64_t{9}, uint64_t{30}, fourGiB - 1, fourGiB + 1, libxc::pfnMask})
        EXPECT_FALSE(layout.pageOffset(Pfn{pfn})) << pfn;
    EXPECT_TRUE(layout.pageOffset(Pfn{10}));
    EXPECT_TRUE(layout.pageOffset(Pfn{29}));
    EXPECT_TRUE(layout.pageOffset(Pfn{fourGiB}));
}

TEST(AlignedLayout, RefusesMemoryThatMakesNoSense)
{
    EXPECT_TRUE(refuses({}));
    EXPECT_TRUE(refuses({{Pfn{0}, 0}}));
    EXPECT_TRUE(refuses({{Pfn{0}, 10}, {Pfn{9}, 10}}));
    EXPECT_TRUE(refuses({{Pfn{10}, 10}, {Pfn{0}, 10}}));
    EXPECT_TRUE(refuses({{Pfn{0}, ~uint64_t{0}}}));
    EXPECT_TRUE(refuses({{Pfn{0}, (uint64_t{1} << 40) + 1}}));
    EXPECT_TRUE(refuses({{Pfn{libxc::pfnMask - 1}, 1}}));
    EXPECT_TRUE(refuses({{Pfn{~uint64_t{0}}, 1}}));
    EXPECT_FALSE(refuses({{Pfn{0}, uint64_t{1} << 40}}, {.headSize = maxBatchHead, .batchPages = 1}));
}

TEST(AlignedIndex, HoldsItsLimits)
{
    const auto good = [](AlignedIndex index) { return check(index).has_value(); };
    EXPECT_TRUE(good({}));
    EXPECT_TRUE(good({maxFirstBatch, maxBatchHead, maxBatchPages}));
    EXPECT_TRUE(good({.headSize = 4096, .batchPages = 510}));
    EXPECT_FALSE(good({.headSize = 4096, .batchPages = 511})) << "its words need more";
    for (uint32_t value : {0u, 1u, 4095u, 4097u, maxFirstBatch + 4096, ~0u})
        EXPECT_FALSE(good({.firstBatch = value})) << value;
    for (uint32_t value : {0u, 4096u, 12287u, 12289u, maxBatchHead + 4096, ~0u})
        EXPECT_FALSE(good({.headSize = value})) << value;
    for (uint32_t value : {0u, 1535u, maxBatchPages + 1, ~0u})
        EXPECT_FALSE(good({.batchPages = value})) << value;
    EXPECT_FALSE(good({.headSize = maxBatchHead, .batchPages = maxBatchPages + 1}));
}

TEST(AlignedLayout, IsAStreamOfPageDataRecords)
{
    const std::vector<PageRun> memory{{Pfn{0}, 13}, {Pfn{fourGiB}, 3}};
    for (const AlignedIndex &index : {small, AlignedIndex{}}) {
        const auto layout = layoutOf(memory, index);
        for (uint64_t number = 0; number < layout.batches(); number++) {
            const Batch batch = layout.batch(number);
            const Bytes head = layout.encodeHead(batch);
            ASSERT_EQ(head.size(), index.headSize);
            Reader in(head);
            EXPECT_EQ(in.u32().value(), static_cast<uint32_t>(libxc::RecordType::PageData));
            EXPECT_EQ(in.u32().value(), index.headSize - 8 + batch.pages * pageSize);
            const uint32_t count = in.u32().value();
            EXPECT_EQ(in.u32().value(), 0u);
            EXPECT_EQ(in.left(), count * sizeof(uint64_t));
            for (uint32_t i = 0; i < count; i++) {
                const auto word = libxc::decodePageWord(in.u64().value()).value();
                const bool filler = i < count - batch.pages;
                EXPECT_EQ(libxc::hasData(word.type), !filler);
                EXPECT_EQ(layout.pageOffset(word.pfn).has_value(), !filler) << "a filler names none of the guest's pages";
                if (!filler) {
                    EXPECT_EQ(word.pfn.value, batch.first.value + i - (count - batch.pages));
                }
            }
        }
    }
}

} // namespace godwit::stream
