// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stream/savefile.h"

#include "base/unique_fd.h"
#include "tests/stream/streams.h"

#include <cstring>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

namespace godwit::stream {

using namespace base;
using namespace tests;

namespace {

const std::string xml = "<domain type='qemu'><name>a</name></domain>";
constexpr SavefileExtension ours{SavefileLayout::Plain, SavedState::Paused};

/// A header as the stock driver writes it, in either order.
Bytes stockHeader(uint32_t version, uint32_t length, ByteOrder order = ByteOrder::native)
{
    Writer out(order);
    out.text({"libvirt-xml\n \0 \r", 16});
    out.u32(version);
    out.u32(length);
    out.zeros(40);
    return out.take();
}

Result<Savefile> readBytes(const Bytes &image)
{
    const UniqueFd fd(::memfd_create("image", MFD_CLOEXEC));
    EXPECT_EQ(::write(fd.get(), image.data(), image.size()), static_cast<ssize_t>(image.size()));
    ::lseek(fd.get(), 0, SEEK_SET);
    return readSavefile(fd.get());
}

std::string errorOf(const Bytes &image)
{
    const auto result = readBytes(image);
    return result ? "" : result.error().message;
}

} // namespace

TEST(Savefile, ReadsWhatItWrites)
{
    const auto raw = encodeSavefile(xml, ours);
    ASSERT_TRUE(raw);
    const auto image = concat({*raw, bytesOf("stream")});
    const auto back = readBytes(image);
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(back->xml, xml);
    EXPECT_EQ(back->header.extension, ours);
    EXPECT_EQ(back->header.version, SavefileVersion::Libxl2);
    EXPECT_EQ(back->streamOffset, raw->size());
    EXPECT_EQ(raw->size(), savefileHeaderSize + xml.size() + 1);
}

TEST(Savefile, LooksToTheStockDriverLikeItsOwn)
{
    const auto raw = encodeSavefile(xml, ours).value();
    const Bytes stock = stockHeader(2, static_cast<uint32_t>(xml.size()) + 1);
    EXPECT_EQ(std::memcmp(raw.data(), stock.data(), 24), 0);
    EXPECT_EQ(std::memcmp(raw.data() + 64, xml.c_str(), xml.size() + 1), 0);
}

TEST(Savefile, PadsWithNulsToTheAlignment)
{
    for (size_t alignment : {1u, 8u, 4096u}) {
        const auto raw = encodeSavefile(xml, ours, alignment);
        ASSERT_TRUE(raw);
        EXPECT_EQ(raw->size() % alignment, 0u);
        EXPECT_EQ(readBytes(*raw)->xml, xml);
    }
}

TEST(Savefile, ReadsStockImagesOfBothVersionsAndOrders)
{
    const Bytes text = concat({bytesOf(xml), Bytes(1)});
    const auto length = static_cast<uint32_t>(text.size());
    for (uint32_t version : {1u, 2u}) {
        for (ByteOrder order : {ByteOrder::little, ByteOrder::big}) {
            const auto back = readBytes(concat({stockHeader(version, length, order), text}));
            ASSERT_TRUE(back) << back.error().message;
            EXPECT_EQ(back->header.version, static_cast<SavefileVersion>(version));
            EXPECT_EQ(back->header.order, order);
            EXPECT_EQ(back->xml, xml);
            EXPECT_FALSE(back->header.extension);
        }
    }
}

TEST(Savefile, CarriesTheIndexOfAnAlignedImage)
{
    const AlignedIndex index{.firstBatch = 8192, .headSize = 16384, .batchPages = 7};
    const SavefileExtension aligned{SavefileLayout::Aligned, SavedState::Running, index};
    const auto image = encodeSavefile(xml, aligned, 4096);
    ASSERT_TRUE(image) << image.error().message;
    EXPECT_EQ(readBytes(*image)->header.extension, aligned);
    const std::span<const std::byte> head(*image);
    Reader words(head.subspan(40, 24), ByteOrder::native);
    EXPECT_EQ(words.u32().value(), 8192u);
    EXPECT_EQ(words.u32().value(), 16384u);
    EXPECT_EQ(words.u32().value(), 7u);
    EXPECT_TRUE(words.zeros(12));
    const auto plain = encodeSavefile(xml, {SavefileLayout::Plain, SavedState::Running, index});
    EXPECT_EQ(readBytes(*plain)->header.extension->index, AlignedIndex()) << "a plain image has none";
}

TEST(Savefile, RefusesAnIndexBeyondItsLimitsByName)
{
    EXPECT_FALSE(encodeSavefile(xml, {SavefileLayout::Aligned, SavedState::Running, {.batchPages = 0}}, 4096));
    const Bytes good = encodeSavefile(xml, {SavefileLayout::Aligned, SavedState::Running}, 4096).value();
    const auto patched = [&](size_t at, uint32_t value) {
        Bytes bad = good;
        std::memcpy(&bad[at], &value, sizeof value);
        return errorOf(bad);
    };
    for (uint32_t value : {0u, 1u, 0x80000000u, ~0u}) {
        EXPECT_NE(patched(40, value).find("first batch at byte " + std::to_string(value)), std::string::npos);
        EXPECT_NE(patched(44, value).find("heads of " + std::to_string(value)), std::string::npos);
        if (value != 1) {
            EXPECT_NE(patched(48, value).find("batches of " + std::to_string(value)), std::string::npos);
        }
    }
    EXPECT_NE(patched(48, 1).find("checksum"), std::string::npos);
    EXPECT_EQ(errorOf(encodeSavefile(xml, {SavefileLayout::Aligned, SavedState::Running}).value()),
              "the image calls itself aligned and has " + std::to_string(xml.size() + 1) + " bytes of domain XML");
}

TEST(Savefile, RejectsEveryTruncation)
{
    const Bytes image = goodSavefile();
    for (size_t length = 0; length < image.size(); length++)
        ASSERT_NE(errorOf(Bytes(image.begin(), image.begin() + static_cast<ptrdiff_t>(length))), "") << length;
}

TEST(Savefile, RejectsEveryFlippedBitOfItsHeadExceptInItsOwnMagic)
{
    const Bytes good = goodSavefile();
    for (size_t bit = 0; bit < 8 * good.size(); bit++) {
        Bytes bad = good;
        bad[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
        // Without our magic it is a stock image, whose spare words say nothing.
        const bool stock = bit / 8 >= 24 && bit / 8 < 28;
        EXPECT_EQ(errorOf(bad).empty(), stock) << "byte " << bit / 8 << " bit " << bit % 8;
    }
}

TEST(Savefile, NamesEachMistake)
{
    const Bytes text = concat({bytesOf(xml), Bytes(1)});
    const auto length = static_cast<uint32_t>(text.size());
    EXPECT_EQ(errorOf(concat({stockHeader(3, length), text})), "image version 3 is not known (1 and 2 are)");
    EXPECT_EQ(errorOf(concat({stockHeader(0, length), text})), "image version 0 is not known (1 and 2 are)");
    EXPECT_EQ(errorOf(stockHeader(2, 0)), "the image has no domain XML");
    EXPECT_EQ(errorOf(stockHeader(2, ~0u)),
              "the image claims 4294967295 bytes of domain XML (4194304 are allowed)");
    EXPECT_EQ(errorOf(concat({stockHeader(2, length - 1), text})), "the image's domain XML has no NUL at its end");
    EXPECT_EQ(errorOf(concat({stockHeader(2, length + 1), text, bytesOf("x")})),
              "the image's domain XML goes on after its NUL");
    EXPECT_EQ(errorOf(Bytes(63)), "the image ends inside its header, at byte 63");
    EXPECT_EQ(errorOf(Bytes(64)), "this is no libvirt Xen image: its magic is wrong");
    Bytes qemu = stockHeader(2, length);
    std::memcpy(qemu.data(), "LibvirtQemudSave", 16);
    EXPECT_EQ(errorOf(qemu), "this image was written by libvirt's QEMU driver");
    std::memcpy(qemu.data(), "Xen saved domain", 16);
    EXPECT_EQ(errorOf(qemu), "this image was written by xl");
}

TEST(Savefile, HoldsTheLimitOfTheXml)
{
    const Bytes longest = concat({stockHeader(2, maxXmlLength), Bytes(maxXmlLength - 1, std::byte{'x'}), Bytes(1)});
    EXPECT_EQ(errorOf(longest), "");
    EXPECT_NE(errorOf(stockHeader(2, maxXmlLength + 1)), "");
    EXPECT_TRUE(encodeSavefile(std::string(maxXmlLength - 2, 'x'), ours));
    EXPECT_FALSE(encodeSavefile(std::string(maxXmlLength - 1, 'x'), ours));
    EXPECT_FALSE(encodeSavefile(std::string("a\0b", 3), ours));
}

TEST(Savefile, ReadsFromAPipe)
{
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    const UniqueFd read(ends[0]), write(ends[1]);
    const Bytes image = goodSavefile();
    ASSERT_EQ(::write(write.get(), image.data(), image.size()), static_cast<ssize_t>(image.size()));
    const auto back = readSavefile(read.get());
    ASSERT_TRUE(back);
    EXPECT_EQ(back->streamOffset, image.size());
}

static Result<Bytes> rewritten(std::span<const std::byte> header, SavefileVersion version, std::string_view text)
{
    MemorySink sink;
    TRY(rewriteSavefile(sink, header, version, text));
    return std::move(sink.data);
}

TEST(Savefile, IsRewrittenWithAnotherXmlAndNothingElse)
{
    const std::string longer = "<domain type='qemu'><name>a-longer-name</name></domain>";
    for (const size_t alignment : {size_t{1}, size_t{4096}}) {
        const SavefileExtension extension{alignment == 1 ? SavefileLayout::Plain : SavefileLayout::Aligned, SavedState::Paused};
        const auto old = encodeSavefile(xml, extension, alignment), expected = encodeSavefile(longer, extension, alignment);
        const auto image = rewritten(std::span(*old).first(savefileHeaderSize), SavefileVersion::Libxl2, longer);
        ASSERT_TRUE(image) << image.error().message;
        EXPECT_EQ(*image, *expected);
    }
    for (const ByteOrder order : {ByteOrder::little, ByteOrder::big}) {
        const auto stock = stockHeader(1, static_cast<uint32_t>(xml.size() + 1), order);
        const auto image = rewritten(stock, SavefileVersion::Libxl2, longer);
        ASSERT_TRUE(image);
        EXPECT_EQ(*image, concat({stockHeader(2, static_cast<uint32_t>(longer.size() + 1), order), bytesOf(longer), Bytes(1)}));
    }
    EXPECT_FALSE(rewritten(stockHeader(2, 5), SavefileVersion::Libxl2, std::string("a\0b", 3)));
    EXPECT_FALSE(rewritten(stockHeader(2, 5), SavefileVersion::Libxl2, std::string(maxXmlLength, ' ')));
    EXPECT_FALSE(rewritten(stockHeader(7, 5), SavefileVersion::Libxl2, longer));
}

} // namespace godwit::stream
