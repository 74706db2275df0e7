// SPDX-License-Identifier: LGPL-2.1-or-later
// Streams of generate_legacy.py, which knows nothing of our code: what Xen's own converter
// makes of them, we make too, and Xen's own verifier accepts it.
#include "base/strprintf.h"
#include "tests/stream/legacy_streams.h"

#include <algorithm>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>

namespace godwit::tests {

using namespace base;
namespace fs = std::filesystem;

namespace {

constexpr const char *xen = "PYTHONPATH=/usr/lib/xen-4.17/lib/python /usr/bin/python3 /usr/lib/xen-4.17/bin/";

struct Case {
    std::string name, guest, width, kind, xen;
};

struct LegacyOracle : testing::Test {
    void SetUp() override
    {
        std::string pattern = (fs::temp_directory_path() / "legacy-XXXXXX").string();
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        folder = pattern;
        ASSERT_EQ(run(generator + " --list > " + path("list")), 0);
        std::ifstream list(path("list"));
        for (Case one; list >> one.name >> one.guest >> one.width >> one.kind >> one.xen;)
            cases.push_back(one);
        ASSERT_GT(cases.size(), 30u);
    }
    void TearDown() override { fs::remove_all(folder); }

    std::string path(const std::string &name) const { return folder + "/" + name; }
    static int run(const std::string &command) { return std::system((command + " 2>/dev/null").c_str()); }

    static Bytes contentOf(const std::string &name)
    {
        std::ifstream file(name, std::ios::binary);
        std::stringstream out;
        out << file.rdbuf();
        return bytesOf(out.str());
    }

    Bytes generate(const Case &one) const
    {
        EXPECT_EQ(run(generator + " " + one.name + " " + path("in")), 0) << one.name;
        return contentOf(path("in"));
    }

    static stream::ConvertOptions optionsOf(const Case &one)
    {
        return one.kind == "regular" ? stream::ConvertOptions{} : checkpointedOptions();
    }

    bool isVerified(const Bytes &output, const char *format) const
    {
        std::ofstream(path("out"), std::ios::binary).write(reinterpret_cast<const char *>(output.data()),
                                                           static_cast<std::streamsize>(output.size()));
        return run(strprintf("%sverify-stream-v2 -i %s -f %s >/dev/null", xen, path("out").c_str(), format)) == 0;
    }

    const std::string generator = "/usr/bin/python3 " GODWIT_GENERATOR;
    std::string folder;
    std::vector<Case> cases;
};

bool haveXen()
{
    return fs::exists("/usr/lib/xen-4.17/bin/convert-legacy-stream");
}

/// What verify-stream-v2 of Xen 4.17 cannot read (docs/stream-libxl.md, Errata).
bool hasXenstoreData(const Bytes &output)
{
    for (const auto &record : recordsOf(output))
        if (record.starts_with("emulator_xenstore_data"))
            return true;
    return false;
}

} // namespace

TEST_F(LegacyOracle, MakesOfEveryStreamWhatItsKindAsksFor)
{
    for (const Case &one : cases) {
        const auto done = convertLegacy(generate(one), optionsOf(one));
        if (one.kind == "unmarked") {
            EXPECT_NE(done.error, "") << one.name;
            continue;
        }
        EXPECT_EQ(done.error, "") << one.name;
        const auto records = recordsOf(done.output);
        EXPECT_EQ(records.back(), "end") << one.name;
        EXPECT_EQ(std::ranges::count(records, "checkpoint_end"), one.kind == "checkpointed" ? 3 : 0) << one.name;
    }
}

TEST_F(LegacyOracle, AgreesWithXensConverterOnWhatThatAccepts)
{
    ASSERT_TRUE(haveXen()) << "package xen-utils-4.17 must be installed";
    for (const Case &one : cases) {
        if (one.xen != "accepts")
            continue;
        const Bytes input = generate(one);
        for (const bool bare : {false, true}) {
            auto options = optionsOf(one);
            options.bareLibxc = bare;
            ASSERT_EQ(run(strprintf("%sconvert-legacy-stream -i %s -o %s -w %s -g %s -f %s", xen, path("in").c_str(),
                                    path("xen").c_str(), one.width.c_str(), one.guest.c_str(), bare ? "libxc" : "libxl")), 0)
                << one.name;
            const Bytes ours = convertLegacy(input, options).output, theirs = contentOf(path("xen"));
            EXPECT_TRUE(bare || recordsOf(ours) == recordsOf(theirs)) << one.name;
            EXPECT_TRUE(ours == theirs) << one.name << (bare ? " as libxc" : " as libxl");
        }
    }
}

TEST_F(LegacyOracle, WritesWhatXensVerifierAccepts)
{
    ASSERT_TRUE(haveXen()) << "package xen-utils-4.17 must be installed";
    for (const Case &one : cases) {
        if (one.kind != "regular")
            continue;
        const Bytes input = generate(one);
        Bytes output = convertLegacy(input).output;
        const bool bare = hasXenstoreData(output);
        if (bare)
            output = convertLegacy(input, {.read = {}, .bareLibxc = true}).output;
        EXPECT_TRUE(isVerified(output, bare ? "libxc" : "libxl")) << one.name;
    }
}

} // namespace godwit::tests
