// SPDX-License-Identifier: LGPL-2.1-or-later
// Legacy streams, and whole files: images of every kind.
#include "stream/savefile.h"
#include "stream/xl_savefile.h"
#include "tests/stream/stream_parts.h"

#include <fstream>
#include <thread>
#include <unistd.h>

namespace godwit::stream {

using namespace base;
using namespace tests;

namespace {

/// By this process, in all its system calls.
uint64_t bytesRead()
{
    std::ifstream io("/proc/self/io");
    std::string name;
    uint64_t bytes = 0;
    io >> name >> bytes;
    return bytes;
}

} // namespace

TEST(VerifyLegacy, AcceptsGoodStreamsAndSaysWhereOthersBreak)
{
    using legacy::Width;
    for (const Bytes &stream : {goodLegacyHvm(Width::Bits64), goodLegacyHvm(Width::Bits32), goodLegacyPv(Width::Bits64)}) {
        MemorySource source(stream);
        const Report report = verifyLegacyStream(source).value();
        EXPECT_TRUE(report.isValid() && report.complete) << textOf(report);
        for (size_t length : {size_t{4}, stream.size() / 2, stream.size() - 1}) {
            const std::span start = std::span(stream).first(length);
            MemorySource part(start);
            const Report cut = verifyLegacyStream(part).value();
            ASSERT_EQ(cut.errors, 1u) << length;
            EXPECT_EQ(cut.findings[0].offset, length);
            EXPECT_NE(cut.findings[0].message.find(strprintf("ends at byte %zu", length)), std::string::npos) << textOf(cut);
        }
    }
}

TEST(VerifyImage, ReadsEveryKindFromFilesAndPipes)
{
    XlSavefile xl;
    xl.config = "{}";
    const Bytes stream = hvmStream().all();
    const Bytes legacyStream = goodLegacyHvm(legacy::Width::Bits64);
    Bytes legacyImage = goodSavefile();
    std::fill(legacyImage.begin() + 24, legacyImage.begin() + 64, std::byte{0});   // a stock image then
    legacyImage[16] = std::byte{1};
    XlSavefile legacyXl;
    legacyXl.header.mandatoryFlags = 0;
    const std::vector<Bytes> images{
        stream, goodLibxcStream(), legacyStream, concat({goodSavefile(), stream}), concat({legacyImage, legacyStream}),
        concat({encodeXlSavefile(xl).value(), stream}), concat({encodeXlSavefile(legacyXl).value(), legacyStream})};
    for (const Bytes &image : images) {
        const UniqueFd file = fileWith(image);
        const Report report = verifyImage(file.get()).value();
        EXPECT_TRUE(report.complete) << textOf(report);
        EXPECT_TRUE(report.isValid()) << textOf(report);
        EXPECT_EQ(::lseek(file.get(), 0, SEEK_CUR), static_cast<off_t>(image.size()));
        int ends[2];
        ASSERT_EQ(::pipe(ends), 0);
        const UniqueFd in(ends[0]);
        std::thread writer([&] {
            const UniqueFd out(ends[1]);
            FdSink sink(out.get());
            EXPECT_TRUE(sink.write(image));
        });
        const Report piped = verifyImage(in.get()).value();
        writer.join();
        EXPECT_EQ(textOf(piped), textOf(report));
        EXPECT_TRUE(piped.complete);
    }
}

TEST(VerifyImage, FindsWhatIsWrongWithHeads)
{
    const auto textFor = [](const Bytes &image) {
        const UniqueFd file = fileWith(image);
        return textOf(verifyImage(file.get()).value());
    };
    const Bytes stream = hvmStream().all();
    EXPECT_EQ(textFor(concat({flipped(goodSavefile(), 70), stream})),
              "domain XML: the image's header or domain XML is damaged: the checksum is wrong\n");
    EXPECT_EQ(textFor(concat({flipped(goodSavefile(), 16, 8), stream})), "image header: image version 10 is not known (1 and 2 are)\n");
    EXPECT_EQ(textFor(bytesOf("LibvirtQemudSave")), "image header: the image ends inside its header, at byte 16\n");
    EXPECT_EQ(textFor(concat({bytesOf("LibvirtQemudSave"), Bytes(100)})), "image header: this image was written by libvirt's QEMU driver\n");
    const Bytes xl = encodeXlSavefile({}).value();
    EXPECT_EQ(textFor(concat({flipped(xl, 32, 8), stream})), "image header: the mark of xl's byte order is wrong\n");
    EXPECT_EQ(textFor({}), "stream header: the stream ends at byte 0\n");
    EXPECT_EQ(textFor(bytesOf("abc")), "stream header: the stream ends at byte 3\n");
    EXPECT_NE(textFor(Bytes(100)), "");
}

TEST(VerifyImage, CountsOffsetsFromTheImage)
{
    const UniqueFd file = fileWith(concat({goodSavefile(), hvmStream().twice("HVM_CONTEXT").all()}));
    const Report report = verifyImage(file.get()).value();
    ASSERT_EQ(report.findings.size(), 1u);
    EXPECT_EQ(report.findings[0].offset, 4336u + goodSavefile().size());
}

TEST(VerifyImage, ReadsOnlyTheHeadersOfAFile)
{
    // 4 GiB of memory, of which the file has none.
    const UniqueFd file = fileWith(begin(3, DomainType::X86Hvm).xc(Xc::StaticDataEnd).all());
    ASSERT_GE(::lseek(file.get(), 0, SEEK_END), 0);
    FdSink sink(file.get());
    for (uint64_t first = 0; first < 1024 * 1024; first += 1024) {
        Writer head;
        head.u32(static_cast<uint32_t>(Xc::PageData));
        head.u32(8 + 1024 * (8 + 4096));
        head.u32(1024);
        head.u32(0);
        for (uint64_t i = 0; i < 1024; i++)
            head.u64(first + i);
        ASSERT_TRUE(sink.write(head.data()));
        ASSERT_GE(::lseek(file.get(), 1024 * 4096, SEEK_CUR), 0);
    }
    Parts tail;
    addHvmImage(tail).xc(Xc::End).xl(Xl::End);
    ASSERT_TRUE(sink.write(tail.all()));
    ASSERT_EQ(::lseek(file.get(), 0, SEEK_SET), 0);

    const uint64_t before = bytesRead();
    const Report report = verifyImage(file.get()).value();
    EXPECT_TRUE(report.isValid() && report.complete) << textOf(report);
    EXPECT_LT(bytesRead() - before, 1024 * 20000u);
}

TEST(VerifyImage, ReportsWhatCannotBeReadAsAnError)
{
    const auto report = verifyImage(-1);
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().code, ErrorCode::System);
}

} // namespace godwit::stream
