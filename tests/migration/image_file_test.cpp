// SPDX-License-Identifier: LGPL-2.1-or-later
#include "migration/image_file.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/stat.h>

using namespace godwit;
using migration::ImageReader;
using migration::ImageWriter;

namespace fs = std::filesystem;

class ImageFile : public testing::Test
{
protected:
    void SetUp() override
    {
        std::string pattern = fs::temp_directory_path() / "godwit-image-XXXXXX";
        ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
        dir = pattern;
    }
    void TearDown() override { fs::remove_all(dir); }

    std::string path() const { return dir / "guest.save"; }
    size_t files() const
    {
        return static_cast<size_t>(std::distance(fs::directory_iterator(dir), fs::directory_iterator()));
    }
    /// Write an image whose stream is `text`, and commit it unless told not to.
    void write(const std::string &xml, const std::string &text, bool commit = true, bool aligned = false)
    {
        auto writer = ImageWriter::create(path(), xml, {.running = false, .aligned = aligned});
        ASSERT_TRUE(writer) << writer.error().message;
        auto stream = writer->stream();
        ASSERT_TRUE(stream);
        ASSERT_EQ(::write(stream->get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
        if (commit) {
            auto done = writer->commit();
            ASSERT_TRUE(done) << done.error().message;
        }
    }
    std::string streamOf(const ImageReader &reader)
    {
        char buffer[256];
        const ssize_t got = ::read(reader.fd.get(), buffer, sizeof buffer);
        return {buffer, static_cast<size_t>(std::max<ssize_t>(got, 0))};
    }

    fs::path dir;
};

TEST_F(ImageFile, ReadsBackWhatWasWritten)
{
    write("<domain/>", "stream");
    auto reader = ImageReader::open(path());
    ASSERT_TRUE(reader) << reader.error().message;
    EXPECT_EQ(reader->head.xml, "<domain/>");
    EXPECT_FALSE(reader->wasRunning());
    EXPECT_EQ(streamOf(*reader), "stream");
    EXPECT_EQ(files(), 1u);
}

TEST_F(ImageFile, LeavesNoTraceAndTheOlderImageWhenNotCommitted)
{
    write("<domain/>", "old");
    write("<domain><other/></domain>", "new", /* commit= */ false);
    EXPECT_EQ(files(), 1u);
    auto reader = ImageReader::open(path());
    ASSERT_TRUE(reader);
    EXPECT_EQ(streamOf(*reader), "old");
}

TEST_F(ImageFile, NamesThePathThatCannotBeWritten)
{
    auto writer = ImageWriter::create(dir / "missing" / "guest.save", "<domain/>", {.running = true});
    ASSERT_FALSE(writer);
    EXPECT_NE(writer.error().message.find("missing/guest.save"), std::string::npos) << writer.error().message;
    EXPECT_FALSE(ImageWriter::create("/dev/null", "<domain/>", {.running = true}));
}

TEST_F(ImageFile, RefusesEveryTruncationOfItsHead)
{
    write("<domain/>", "");
    const auto size = fs::file_size(path());
    for (uintmax_t length = 0; length < size; length++) {
        fs::resize_file(path(), length);
        auto reader = ImageReader::open(path());
        ASSERT_FALSE(reader) << length;
        EXPECT_NE(reader.error().message.find("guest.save"), std::string::npos) << reader.error().message;
        write("<domain/>", "");
    }
}

TEST_F(ImageFile, ChangesTheXmlAndKeepsTheStream)
{
    write("<domain/>", "stream");
    auto changed = migration::rewriteImage(path(), "<domain type='longer than before'/>", true);
    ASSERT_TRUE(changed) << changed.error().message;
    auto reader = ImageReader::open(path());
    ASSERT_TRUE(reader);
    EXPECT_EQ(reader->head.xml, "<domain type='longer than before'/>");
    EXPECT_TRUE(reader->wasRunning());
    EXPECT_EQ(streamOf(*reader), "stream");
    EXPECT_EQ(files(), 1u);
}

TEST_F(ImageFile, SaysWhetherItIsAligned)
{
    write("<domain/>", "stream");
    EXPECT_FALSE(ImageReader::open(path())->index());
    write("<domain/>", "stream", true, /* aligned= */ true);
    auto reader = ImageReader::open(path());
    ASSERT_TRUE(reader) << reader.error().message;
    EXPECT_EQ(reader->index(), stream::AlignedIndex());
    EXPECT_EQ(reader->head.streamOffset, 4096u);
    EXPECT_EQ(streamOf(*reader), "stream");
}

TEST_F(ImageFile, StaysAlignedAndSparseWhenItsXmlIsChanged)
{
    write("<domain/>", "stream", true, /* aligned= */ true);
    constexpr uintmax_t far = 64 << 20, size = 128 << 20;
    fs::resize_file(path(), size);
    {
        std::fstream file(path(), std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(far);
        file << "data";
    }
    const std::string longer(5000, ' ');
    auto changed = migration::rewriteImage(path(), "<domain/>" + longer, true);
    ASSERT_TRUE(changed) << changed.error().message;
    auto reader = ImageReader::open(path());
    ASSERT_TRUE(reader) << reader.error().message;
    EXPECT_TRUE(reader->wasRunning());
    EXPECT_EQ(reader->index(), stream::AlignedIndex());
    EXPECT_EQ(reader->head.streamOffset, 8192u);
    EXPECT_EQ(streamOf(*reader).substr(0, 6), "stream");
    EXPECT_EQ(fs::file_size(path()), size + 4096);
    char data[4] = {};
    ASSERT_EQ(::pread(reader->fd.get(), data, sizeof data, static_cast<off_t>(far + 4096)), 4);
    EXPECT_EQ(std::string(data, sizeof data), "data");
    struct stat status{};
    ::fstat(reader->fd.get(), &status);
    EXPECT_LT(status.st_blocks * 512, 1 << 20);
}
