// SPDX-License-Identifier: LGPL-2.1-or-later
// Golden streams are read as they were written, and found to be good; and whatever Xen's own
// verifier refuses among thousands of broken ones, ours refuses too.
#include "base/strprintf.h"
#include "stream/libxc_reader.h"
#include "stream/savefile.h"
#include "stream/verify.h"
#include "tests/stream/golden.h"

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <gtest/gtest.h>
#include <random>

namespace godwit::stream {

using namespace base;
using namespace tests;

namespace {

std::string describe(const Report &report)
{
    std::string out;
    for (const Finding &finding : report.findings)
        out += (finding.severity == Severity::Error ? "error: " : "warning: ") + finding.text() + "\n";
    return out;
}

Report reportOn(std::span<const std::byte> stream)
{
    MemorySource source(stream);
    return verifyStream(source).value();
}

bool isBareStream(const GoldenStream &stream)
{
    return stream.format == "libxl" || stream.format == "libxc";
}

struct Lister : Visitor {
    Result<void> record(const RecordAt &record) override
    {
        lines.push_back(strprintf("%s %s %llu %u", record.layer == Layer::Libxl ? "libxl" : "libxc",
                                  record.name ? record.name : "-", static_cast<unsigned long long>(record.offset),
                                  record.length));
        places.push_back(record);
        return {};
    }
    std::vector<std::string> lines;
    std::vector<RecordAt> places;
};

/// What is done to a stream: bits, words, whole records, its end.
class Mutator
{
public:
    Mutator(const Bytes &seed, unsigned randomness) : seed_(seed), random_(randomness)
    {
        MemorySource source(seed);
        Lister lister;
        EXPECT_TRUE(walk(source, lister));
        places_ = lister.places;
    }

    Bytes next()
    {
        Bytes out = seed_;
        switch (random_() % 8) {
        case 0:
            out.resize(random_() % out.size());
            break;
        case 1:   // a record again
            insert(out, somewhere().offset, recordBytes(somewhere()));
            break;
        case 2:   // a record less
            erase(out, somewhere());
            break;
        case 3: { // a record elsewhere
            const RecordAt from = somewhere();
            const Bytes moved = recordBytes(from);
            const uint64_t to = somewhere().offset;
            erase(out, from);
            insert(out, to > from.offset ? to - std::min<uint64_t>(to - from.offset, moved.size()) : to, moved);
            break;
        }
        case 4:   // another type, often a known one
            putWord(out, somewhere().offset, random_() % 2 ? random_() % 0x16 : 1u << random_() % 32);
            break;
        case 5: { // another length
            const RecordAt record = somewhere();
            putWord(out, record.offset + 4, record.length + static_cast<uint32_t>(random_() % 33) - 16);
            break;
        }
        case 6: { // the beginning of a body
            const RecordAt record = somewhere();
            flip(out, record.bodyOffset() + random_() % 24);
            break;
        }
        default:  // anything in the headers, or anywhere
            for (unsigned n = random_() % 3 + 1; n > 0; n--)
                flip(out, random_() % 2 ? random_() % 64 : random_() % out.size());
        }
        return out;
    }

private:
    const RecordAt &somewhere() { return places_[random_() % places_.size()]; }
    Bytes recordBytes(const RecordAt &record) const
    {
        return {seed_.begin() + static_cast<ptrdiff_t>(record.offset), seed_.begin() + static_cast<ptrdiff_t>(record.endOffset())};
    }
    static void insert(Bytes &out, uint64_t at, const Bytes &what)
    {
        out.insert(out.begin() + static_cast<ptrdiff_t>(std::min<uint64_t>(at, out.size())), what.begin(), what.end());
    }
    static void erase(Bytes &out, const RecordAt &record)
    {
        out.erase(out.begin() + static_cast<ptrdiff_t>(record.offset), out.begin() + static_cast<ptrdiff_t>(record.endOffset()));
    }
    static void putWord(Bytes &out, uint64_t at, uint64_t word)
    {
        for (unsigned i = 0; i < 4; i++)
            out[at + i] = static_cast<std::byte>(word >> 8 * i);
    }
    void flip(Bytes &out, uint64_t at)
    {
        if (at < out.size())
            out[at] ^= static_cast<std::byte>(1u << random_() % 8);
    }

    Bytes seed_;
    std::vector<RecordAt> places_;
    std::mt19937 random_;
};

/// What Xen's verifier refuses and we do not: the Errata of docs/stream-*.md have the same list.
bool isErratum(const std::string &verdict, const Report &ours)
{
    if (verdict.find("Data not NUL terminated") != verdict.npos)
        return true;
    return verdict.find("Unrecognised record type 0x8") != verdict.npos && ours.warnings > 0;
}

} // namespace

TEST(GoldenStreams, AreThere)
{
    EXPECT_GT(goldenStreams().size(), 20u);
}

TEST(GoldenStreams, AreFoundToBeGood)
{
    for (const GoldenStream &one : goldenStreams()) {
        const UniqueFd file = fileWith(one.data);
        const Report report = verifyImage(file.get()).value();
        EXPECT_TRUE(report.isValid() && report.complete) << one.name << "\n" << describe(report);
        EXPECT_EQ(report.warnings, one.warnings) << one.name << "\n" << describe(report);
    }
}

TEST(GoldenStreams, HaveTheRecordsThatWereWritten)
{
    for (const GoldenStream &one : goldenStreams()) {
        const UniqueFd file = fileWith(one.data);
        uint64_t head = 0;
        if (one.format == "libvirt")
            head = readSavefile(file.get()).value().streamOffset;
        else if (one.format == "xl")
            continue;
        MemorySource source(std::span(one.data).subspan(head));
        source.advance(head);
        Lister lister;
        ASSERT_TRUE(walk(source, lister)) << one.name;
        EXPECT_EQ(lister.lines, one.records) << one.name;
    }
}

TEST(GoldenStreams, AreReadByOurReaders)
{
    for (const GoldenStream &one : goldenStreams()) {
        // The readers are for machine guests: no checkpoints.
        if (!isBareStream(one) || one.name.starts_with("remus") || one.name == "colo")
            continue;
        MemorySource source(one.data);
        RecordingHandler handler(4096);
        const bool isLibxl = one.format == "libxl";
        const auto done = isLibxl ? Result<void>() : libxc::readStream(source, handler);
        const auto state = isLibxl ? readLibxl(source, handler) : std::optional<KeptState>();
        EXPECT_TRUE(done && state) << one.name;
        EXPECT_GT(handler.pagesRead, 17u) << one.name;
    }
}

TEST(Verifier, RefusesWhateverXensDoes)
{
    ASSERT_TRUE(haveXensVerifier()) << "package xen-utils-4.17 must be installed";
    // In a long run more of them, and others each day.
    const bool isLong = std::getenv("GODWIT_LONG") != nullptr;
    const unsigned perStream = isLong ? 1500 : 300;
    const unsigned randomness = isLong ? static_cast<unsigned>(::time(nullptr) / 86400) : 11;
    SCOPED_TRACE(strprintf("randomness %u", randomness));
    const TemporaryFolder folder;
    for (const char *format : {"libxc", "libxl"}) {
        std::vector<Bytes> streams;
        for (const GoldenStream &one : goldenStreams()) {
            if (one.format != format || one.xen != "accepts")
                continue;
            streams.push_back(one.data);
            Mutator mutator(one.data, randomness);
            for (unsigned i = 0; i < perStream; i++)
                streams.push_back(mutator.next());
        }
        std::ofstream file(folder.file(format), std::ios::binary);
        for (const Bytes &stream : streams) {
            const auto length = static_cast<uint32_t>(stream.size());
            file.write(reinterpret_cast<const char *>(&length), sizeof length);
            file.write(reinterpret_cast<const char *>(stream.data()), length);
        }
        file.close();
        ASSERT_EQ(run(strprintf("/usr/bin/python3 " GODWIT_XEN_VERDICTS " %s %s > %s", format, folder.file(format).c_str(),
                                folder.file("verdicts").c_str())), 0);
        std::ifstream verdicts(folder.file("verdicts"));
        unsigned accepted = 0, refused = 0, alone = 0;
        for (const Bytes &stream : streams) {
            std::string verdict;
            ASSERT_TRUE(std::getline(verdicts, verdict));
            const Report ours = reportOn(stream);
            const bool refuses = verdict != "accepts";
            (refuses ? refused : accepted)++;
            alone += !refuses && !ours.isValid();
            EXPECT_FALSE(refuses && ours.isValid() && !isErratum(verdict, ours)) << format << ": Xen " << verdict << "\n" << describe(ours);
        }
        EXPECT_GT(refused, streams.size() / 3) << format;
        EXPECT_GT(accepted, streams.size() / 20) << format;
        RecordProperty(std::string(format) + "-only-ours", static_cast<int>(alone));
    }
}

} // namespace godwit::stream
