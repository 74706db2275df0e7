// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/strprintf.h"
#include "stream/walk.h"
#include "tests/stream/streams.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

namespace godwit::stream {

using namespace base;
using namespace tests;

namespace {

/// Writes down what it is told, a line each.
struct Diary : Visitor {
    Result<void> libxlHeader(uint64_t offset, std::span<const std::byte>) override { return note("libxl header", offset); }
    Result<void> imageHeader(uint64_t offset, std::span<const std::byte>) override { return note("image header", offset); }
    Result<void> domainHeader(uint64_t offset, std::span<const std::byte>) override { return note("domain header", offset); }
    Result<void> record(const RecordAt &record) override
    {
        const std::string name = record.name ? record.name : strprintf("0x%x", record.type);
        const std::string text = strprintf("%s%s %u", record.layer == Layer::Libxl ? "libxl " : "", name.c_str(), record.length);
        return note(record.checkpoint ? strprintf("[%u] %s", record.checkpoint, text.c_str()) : text, record.offset);
    }
    Result<void> body(const RecordAt &, Source &body) override
    {
        std::vector<std::byte> some(take);
        return Result<void>(readsBodies ? body.read(some) : Result<void>());
    }
    Result<void> pages(const RecordAt &, std::span<const PageAt> pages) override
    {
        words += pages.size();
        pieces++;
        for (const PageAt &page : pages)
            if (page.word.pfn.value < 100 && hasData(page.word.type))
                TRY(note(strprintf("page %llu", static_cast<unsigned long long>(page.word.pfn.value)), page.offset));
        return {};
    }
    Result<void> pageData(const RecordAt &, std::span<const PageAt> pages, Source &data) override
    {
        for (size_t i = 0; readsPages && i < pages.size(); i++) {
            std::array<std::byte, pageSize> page;
            EXPECT_EQ(data.offset(), pages[i].offset);
            TRY(data.read(page));
            EXPECT_EQ(page[17], static_cast<std::byte>(pages[i].word.pfn.value));
        }
        return {};
    }
    Result<void> fault(const RecordAt &, uint64_t offset, Error error) override
    {
        faults.push_back(strprintf("%llu %s", static_cast<unsigned long long>(offset), error.message.c_str()));
        return forgives ? Result<void>() : error;
    }

    Result<void> note(const std::string &what, uint64_t offset)
    {
        lines.push_back(strprintf("%llu %s", static_cast<unsigned long long>(offset), what.c_str()));
        return lines.size() == stopAfter ? makeError(ErrorCode::Aborted, "enough") : Result<void>();
    }

    std::vector<std::string> lines, faults;
    size_t words = 0, pieces = 0, take = 0, stopAfter = 0;
    bool readsBodies = false, readsPages = false, forgives = false;
};

/// Counts what is read, and what is not.
struct CountingSource : MemorySource {
    using MemorySource::MemorySource;
    Result<size_t> readSome(std::span<const iovec> parts) override
    {
        const size_t count = TRY(MemorySource::readSome(parts));
        read += count;
        return count;
    }
    Result<void> skip(uint64_t count) override
    {
        const size_t had = read;
        const auto done = MemorySource::skip(count);
        skipped += read - had;
        read = had;
        return done;
    }
    size_t read = 0, skipped = 0;
};

std::string errorOf(const Bytes &stream, Visitor &visitor, StreamKind kind = StreamKind::Detect)
{
    MemorySource source(stream);
    const auto done = walk(source, visitor, kind);
    return done ? "" : done.error().message;
}

using Lines = std::vector<std::string>;

/// Record lines, without their offsets.
Lines recordsIn(const Bytes &stream)
{
    Diary diary;
    EXPECT_EQ(errorOf(stream, diary), "");
    for (auto &line : diary.lines)
        line.erase(0, line.find(' ') + 1);
    return diary.lines;
}

Bytes checkpoint(const Bytes &before)
{
    return concat({before, record(libxc::RecordType::Checkpoint),
                   record(libxl::RecordType::EmulatorContext, libxl::encodeEmulatorHeader({})),
                   record(libxl::RecordType::CheckpointEnd)});
}

Bytes page(uint64_t pfn)
{
    return record(libxc::RecordType::PageData, pageData({{Pfn{pfn}}}));
}

} // namespace

TEST(Walk, VisitsEveryElementInItsOrderAndPlace)
{
    Diary diary;
    diary.readsPages = true;
    ASSERT_EQ(errorOf(goodLibxlStream(), diary), "");
    EXPECT_EQ(diary.lines, (Lines{
        "0 libxl header", "16 libxl LIBXC_CONTEXT 0", "24 image header", "48 domain header",
        "64 STATIC_DATA_END 0", "72 PAGE_DATA 12328", "120 page 2", "4216 page 3", "8312 page 5",
        "12408 X86_TSC_INFO 24", "12440 HVM_CONTEXT 40", "12488 HVM_PARAMS 24", "12520 END 0",
        "12528 libxl EMULATOR_XENSTORE_DATA 18", "12560 libxl EMULATOR_CONTEXT 18", "12592 libxl END 0"}));
    EXPECT_EQ(diary.words, 4u);
}

TEST(Walk, FindsOutWhatKindOfStreamItIs)
{
    Diary diary;
    EXPECT_EQ(errorOf(goodLibxcStream(), diary), "");
    EXPECT_EQ(diary.lines.front(), "0 image header");
    EXPECT_EQ(errorOf(Bytes(16), diary),
              "stream header: this is no libxl or libxc stream (it may be a legacy stream)");
    EXPECT_EQ(errorOf(goodLibxcStream(), diary, StreamKind::Libxl),
              "libxl header: this is no libxl stream: its identification is wrong");
    EXPECT_EQ(errorOf(goodLibxlStream(), diary, StreamKind::Libxc),
              "libxc image header: the marker is wrong: this may be a legacy stream");
}

TEST(Walk, ReadsNothingThatIsNotWanted)
{
    const Bytes stream = goodLibxlStream();
    CountingSource source(stream);
    Diary diary;
    ASSERT_TRUE(walk(source, diary));
    EXPECT_LT(source.read, 300u);
    EXPECT_EQ(source.read + source.skipped, stream.size());
}

TEST(Walk, SkipsWhatAVisitorLeaves)
{
    Diary diary;
    diary.readsBodies = true;
    diary.take = 0;
    const Bytes stream = concat({libxcHeaders(), record(libxc::RecordType::HvmContext, Bytes(100)),
                                 record(libxc::RecordType::End, {})});
    EXPECT_EQ(errorOf(stream, diary), "");
    const Bytes longer = concat({libxcHeaders(), record(libxc::RecordType::HvmContext, Bytes(100)),
                                 record(libxc::RecordType::HvmContext, Bytes(101))});
    diary.take = 101;
    EXPECT_EQ(errorOf(longer, diary), "HVM_CONTEXT at byte 40: the stream ends at byte 148");
}

TEST(Walk, GivesLargePageRecordsInPieces)
{
    std::vector<libxc::PageWord> words(2500, {Pfn{200}, libxc::PageType::Absent});
    words[0] = {Pfn{1}};
    words[2400] = {Pfn{2}};
    Diary diary;
    diary.readsPages = true;
    ASSERT_EQ(errorOf(libxcStream(record(libxc::RecordType::PageData, pageData(words))), diary), "");
    EXPECT_EQ(diary.words, 2500u);
    EXPECT_EQ(diary.pieces, 3u);
    EXPECT_EQ(diary.lines[4], "20064 page 1");
    EXPECT_EQ(diary.lines[5], "24160 page 2");
}

TEST(Walk, FollowsCheckpointsThroughBothLayers)
{
    const Bytes remus = concat({libxl::encodeHeader({}), record(libxl::RecordType::LibxcContext), libxcHeaders(),
        checkpoint(concat({record(libxc::RecordType::StaticDataEnd), page(200)})), checkpoint(page(201)), page(202),
        record(libxc::RecordType::End), record(libxl::RecordType::End)});
    EXPECT_EQ(recordsIn(remus), (Lines{
        "libxl header", "libxl LIBXC_CONTEXT 0", "image header", "domain header", "STATIC_DATA_END 0",
        "PAGE_DATA 4112", "CHECKPOINT 0", "libxl EMULATOR_CONTEXT 8", "libxl CHECKPOINT_END 0",
        "[1] PAGE_DATA 4112", "[1] CHECKPOINT 0", "[1] libxl EMULATOR_CONTEXT 8", "[1] libxl CHECKPOINT_END 0",
        "[2] PAGE_DATA 4112", "[2] END 0", "[2] libxl END 0"}));
}

TEST(Walk, TellsColosStateFromAPvRecord)
{
    const Bytes state(4);
    const Bytes colo = concat({libxl::encodeHeader({}), record(libxl::RecordType::LibxcContext), libxcHeaders(),
        checkpoint(page(200)), record(libxl::RecordType::CheckpointState, state), page(201),
        record(libxc::RecordType::X86PvVcpuXsave, Bytes(24)), record(libxc::RecordType::End),
        record(libxl::RecordType::End)});
    const Lines lines = recordsIn(colo);
    EXPECT_EQ(lines[8], "[1] libxl CHECKPOINT_STATE 4");
    EXPECT_EQ(lines[9], "[1] PAGE_DATA 4112");
    EXPECT_EQ(lines[10], "[1] X86_PV_VCPU_XSAVE 24");
}

TEST(Walk, CountsCheckpointsOfABareLibxcStream)
{
    const Bytes stream = concat({libxcHeaders(), page(200), record(libxc::RecordType::Checkpoint), page(201),
                                 record(libxc::RecordType::End)});
    EXPECT_EQ(recordsIn(stream), (Lines{"image header", "domain header", "PAGE_DATA 4112", "CHECKPOINT 0",
                                        "[1] PAGE_DATA 4112", "[1] END 0"}));
}

TEST(Walk, EndsWithAVisitorsError)
{
    for (size_t i = 1; i <= 16; i++) {
        Diary diary;
        diary.stopAfter = i;
        EXPECT_NE(errorOf(goodLibxlStream(), diary).find("enough"), std::string::npos);
        EXPECT_EQ(diary.lines.size(), i);
    }
}

TEST(Walk, GoesOnBehindWhatAVisitorForgives)
{
    Bytes bad = record(libxc::RecordType::PageData, pageData({{Pfn{1}}}));
    bad[16 + 7] = std::byte{0x50};   // the word's type
    Bytes padding = record(libxc::RecordType::HvmContext, Bytes(1));
    padding[15] = std::byte{1};
    const Bytes stream = libxcStream(concat({bad, record(libxc::RecordType::PageData, Bytes(3)),
        record(libxc::RecordType::PageData, Bytes(16)), padding, record(libxc::RecordType::PageData,
        concat({pageData({{Pfn{200}}}), Bytes(8)})), page(201)}));
    Diary strict;
    EXPECT_EQ(errorOf(stream, strict),
              "PAGE_DATA at byte 48: invalid page type in the page word 0x5000000000000001");
    Diary diary;
    diary.forgives = true;
    EXPECT_EQ(errorOf(stream, diary), "");
    EXPECT_EQ(diary.faults, (Lines{
        "64 invalid page type in the page word 0x5000000000000001", "4168 has the wrong length 3",
        "4192 has 0 pages in 16 bytes", "4217 has padding that is not zero",
        "4224 has 4120 bytes for 1 pages, 1 of them with data"}));
    EXPECT_EQ(diary.words, 1u);
}

TEST(Walk, SaysWhereEveryTruncationIs)
{
    for (const Bytes &stream : {goodLibxlStream(), goodLibxcStream()}) {
        for (size_t length = 0; length < stream.size(); length += length < 200 || length > 12300 ? 1 : 997) {
            const Bytes part(stream.begin(), stream.begin() + static_cast<ptrdiff_t>(length));
            Diary diary;
            const std::string ending = strprintf("the stream ends at byte %zu", length);
            EXPECT_TRUE(errorOf(part, diary).ends_with(ending)) << errorOf(part, diary) << " instead of " << ending;
            const UniqueFd file = fileWith(part);
            const auto done = walk(file.get(), diary);
            EXPECT_TRUE(!done && done.error().message.ends_with(ending)) << done.error().message;
        }
    }
}

TEST(Walk, ReadsFilesPipesAndSocketsAlike)
{
    // The length of a page's record is beyond the window of a file.
    std::vector<libxc::PageWord> words(300);
    for (size_t i = 0; i < words.size(); i++)
        words[i].pfn.value = i;
    const Bytes stream = concat({goodLibxlStream(), libxcStream(record(libxc::RecordType::PageData, pageData(words)))});
    const Bytes trailer = bytesOf("and more");
    for (const bool readsPages : {false, true}) {
        std::vector<Lines> seen;
        for (int kind = 0; kind < 3; kind++) {
            UniqueFd file = fileWith(concat({stream, trailer}));
            std::thread writer;
            int ends[2] = {-1, -1};
            if (kind != 0) {
                ASSERT_EQ(kind == 1 ? ::pipe(ends) : ::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
                file.reset(ends[0]);
                writer = std::thread([&] {
                    UniqueFd out(ends[1]);
                    FdSink sink(out.get());
                    EXPECT_TRUE(sink.write(concat({stream, trailer})));
                });
            }
            Diary diary;
            diary.readsPages = readsPages;
            EXPECT_TRUE(walk(file.get(), diary));
            EXPECT_TRUE(walk(file.get(), diary));
            char rest[20];
            EXPECT_EQ(::read(file.get(), rest, sizeof rest), static_cast<ssize_t>(trailer.size()));
            if (writer.joinable())
                writer.join();
            seen.push_back(diary.lines);
        }
        EXPECT_EQ(seen[0], seen[1]);
        EXPECT_EQ(seen[0], seen[2]);
    }
}

} // namespace godwit::stream
