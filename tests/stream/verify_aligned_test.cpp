// SPDX-License-Identifier: LGPL-2.1-or-later
// The rules of docs/image-libvirt.md, "Aligned image", broken one by one.
#include "stream/verify.h"
#include "tests/stream/streams.h"

#include <algorithm>
#include <functional>
#include <gtest/gtest.h>

namespace godwit::stream {

using namespace base;
using namespace tests;
using libxc::PageType;

namespace {

constexpr AlignedIndex index8 = alignedIndex;
using Words = std::vector<uint64_t>;

std::string findings(const Bytes &image)
{
    const UniqueFd file = fileWith(image);
    std::string out;
    const Report report = verifyImage(file.get()).value();
    for (const Finding &finding : report.findings)
        out += finding.text() + "\n";
    return out;
}

/// With the words of one batch changed: the last words are its pages'.
std::string findings(uint64_t changed, const std::function<void(Words &)> &change)
{
    return findings(alignedImage(index8, [&](uint64_t number, Words &words) {
        if (number == changed)
            change(words);
    }));
}

uint64_t word(uint64_t pfn, PageType type = PageType::Normal)
{
    return libxc::encodePageWord({Pfn{pfn}, type});
}

// In the file: behind head and XML, which take a page.
constexpr uint64_t firstAt = 4096 + 8192, secondAt = firstAt + 4096 + 8 * 4096, thirdAt = secondAt + 4096 + 4 * 4096;

std::string at(uint64_t offset, const std::string &message)
{
    return "PAGE_DATA at byte " + std::to_string(offset) + ": " + message + "\n";
}

} // namespace

TEST(VerifyAligned, FindsNothingInWhatWeWrite)
{
    EXPECT_EQ(findings(alignedImage()), "");
}

TEST(VerifyAligned, HoldsTheIndexAgainstTheStream)
{
    AlignedIndex wrong = index8;
    wrong.firstBatch = 4096;
    EXPECT_EQ(findings(alignedImage(wrong)), at(firstAt, "stands where the image's index has no batch: that is at byte 8192"));
    wrong = index8;
    wrong.headSize = 8192;
    EXPECT_NE(findings(alignedImage(wrong)).find(at(firstAt, "has a head of 4096 bytes, the image's index says 8192")), std::string::npos);
    wrong = index8;
    wrong.batchPages = 7;
    EXPECT_EQ(findings(alignedImage(wrong)), at(firstAt, "has more pages than a batch of the image's index, which has 7") +
                                          at(thirdAt, "has more pages than a batch of the image's index, which has 7"));
    wrong.batchPages = 16;   // every batch may be the last of a region, says the stream alone
    EXPECT_EQ(findings(alignedImage(wrong)), "");
}

TEST(VerifyAligned, WantsNothingBetweenBatches)
{
    const Bytes between = record(0x80000042, {});
    EXPECT_NE(findings(alignedImage(index8, {}, between))
                  .find(at(secondAt + between.size(), "stands where the image's index has no batch: that is at byte " + std::to_string(secondAt))),
              std::string::npos);
}

TEST(VerifyAligned, WantsPagesInTheirOrder)
{
    EXPECT_EQ(findings(1, [](Words &words) { std::swap(words.back(), words[words.size() - 2]); }),
              at(secondAt, "has page 0xb behind page 0x9 in a batch"));
    EXPECT_EQ(findings(1, [](Words &words) { words.back() = word(12); }), at(secondAt, "has page 0xc behind page 0xa in a batch"));
    EXPECT_EQ(findings(1, [](Words &words) {
                  for (uint64_t i = 0; i < 4; i++)
                      words[words.size() - 4 + i] = word(i);
              }),
              at(secondAt, "begins with page 0x0, behind page 0x7"));
    EXPECT_NE(findings(1, [](Words &words) { words.back() = word(11, PageType::L1); })
                  .find(at(secondAt, "has a page of another type than normal in a batch")),
              std::string::npos);
}

TEST(VerifyAligned, WantsAbsentPagesInFrontAndOutsideTheGuest)
{
    EXPECT_EQ(findings(1, [](Words &words) { std::rotate(words.begin(), words.end() - 1, words.end()); }),
              at(secondAt, "has an absent page behind the first one that is present"));
    EXPECT_EQ(findings(1, [](Words &words) { words.front() = word(111, PageType::Absent); }),
              at(secondAt, "has 0x6f as an absent page, others have 0x6e"));
    const auto wrongEverywhere = [](uint64_t, Words &words) { std::ranges::replace(words, word(110, PageType::Absent), word(200, PageType::Absent)); };
    EXPECT_NE(findings(alignedImage(index8, wrongEverywhere)).find("END at byte"), std::string::npos);
}

TEST(VerifyAligned, MissesBatches)
{
    const Bytes plain = goodLibxlStream();
    const Bytes head = encodeSavefile("<domain type='qemu'/>", {SavefileLayout::Aligned, SavedState::Running}, pageSize).value();
    EXPECT_NE(findings(concat({head, plain})).find("stands where the image's index has no batch"), std::string::npos);
    const Bytes empty = concat({libxl::encodeHeader({}), record(libxl::RecordType::LibxcContext), libxcStream({})});
    EXPECT_NE(findings(concat({head, empty})).find(": comes without a batch of the image's index before it"), std::string::npos);
}

} // namespace godwit::stream
