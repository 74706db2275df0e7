// SPDX-License-Identifier: LGPL-2.1-or-later
// usage: fuzz_seeds TARGET FOLDER: write the good streams that a fuzz target begins with.
#include "stream/libxc_bodies.h"
#include "stream/xl_savefile.h"
#include "tests/stream/legacy_streams.h"

#include <cstdio>
#include <fstream>

using namespace godwit::tests;
using godwit::stream::legacy::Width;

static std::vector<Bytes> goodBodies()
{
    using namespace godwit::stream;
    const libxc::HvmParam param{1, 5};
    return {libxc::encodePvInfo({8, 4}), libxc::encodeP2mFrames({0, 511, {}}), libxc::encodeTscInfo({}),
            libxc::encodeEmptyHvmContext(), libxc::encodeHvmParams(std::span(&param, 1)),
            libxl::encodeEmulatorHeader({}), bytesOf({"key\0value\0", 10})};
}

static std::vector<Bytes> seedsOf(std::string_view target)
{
    if (target == "libxc")
        return {goodLibxcStream()};
    if (target == "libxl")
        return {goodLibxlStream()};
    if (target == "pages")
        return {concat({record(godwit::stream::libxc::RecordType::PageData, pageData({{godwit::base::Pfn{2}}})),
                        record(godwit::stream::libxc::RecordType::End)})};
    if (target == "bodies")
        return goodBodies();
    if (target == "image" || target == "paged")
        return {alignedImage()};
    if (target == "verify")
        return {goodLibxlStream(), goodLibxcStream()};
    if (target == "savefile") {
        godwit::stream::XlSavefile xl;
        xl.config = "{}";
        return {goodSavefile(), godwit::stream::encodeXlSavefile(xl).value()};
    }
    std::vector<Bytes> legacy;
    for (const Width width : {Width::Bits32, Width::Bits64}) {
        legacy.push_back(goodLegacyHvm(width));
        legacy.push_back(goodLegacyPv(width));
        legacy.push_back(goodLegacyCheckpoints(width));
    }
    return legacy;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    size_t number = 0;
    for (const Bytes &seed : seedsOf(argv[1])) {
        std::ofstream out(std::string(argv[2]) + "/seed-" + std::to_string(number++), std::ios::binary);
        out.write(reinterpret_cast<const char *>(seed.data()), static_cast<std::streamsize>(seed.size()));
        if (!out.flush())
            return 1;
    }
    return 0;
}
