// SPDX-License-Identifier: LGPL-2.1-or-later
// The fuzz targets' checks, run over mutated good streams in every ordinary test run.
#include "tests/stream/streams.h"

#include <gtest/gtest.h>
#include <random>

namespace godwit::stream {

using namespace tests;

static void mutate(const Bytes &seed, bool (*check)(std::span<const std::byte>), unsigned count)
{
    std::mt19937 random(7);
    ASSERT_TRUE(check(seed));
    for (unsigned i = 0; i < count; i++) {
        Bytes bad = seed;
        for (unsigned n = random() % 6 + 1; n > 0; n--) {
            // Mostly where the structure is, not in the pages.
            const size_t at = random() % 2 ? random() % bad.size() : random() % std::min<size_t>(bad.size(), 128);
            bad[at] = random() % 3 ? static_cast<std::byte>(random()) : std::byte{0xff};
        }
        if (random() % 4 == 0)
            bad.resize(random() % bad.size());
        if (random() % 8 == 0)
            bad.insert(bad.begin() + static_cast<ptrdiff_t>(random() % (bad.size() + 1)), random() % 64, std::byte{0});
        ASSERT_TRUE(check(bad)) << "mutation " << i;
    }
}

TEST(MutatedStreams, NeverCrashTheLibxcReader) { mutate(goodLibxcStream(), checkLibxcReader, 20000); }
TEST(MutatedStreams, NeverCrashTheLibxlReader) { mutate(goodLibxlStream(), checkLibxlReader, 20000); }
TEST(MutatedStreams, NeverCrashTheSavefileReader) { mutate(goodSavefile(), checkSavefileReader, 20000); }
TEST(MutatedStreams, NeverCrashTheVerifier)
{
    mutate(goodLibxlStream(), checkVerifier, 20000);
    mutate(goodLibxcStream(), checkVerifier, 10000);
}
TEST(MutatedStreams, NeverCrashTheVerifierOfImages) { mutate(alignedImage(), checkImage, 3000); }
TEST(MutatedStreams, NeverCrashTheReaderOfAnAlignedImagesHead) { mutate(goodAlignedSavefile(), checkSavefileReader, 20000); }

} // namespace godwit::stream
