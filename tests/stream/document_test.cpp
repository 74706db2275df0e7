// SPDX-License-Identifier: LGPL-2.1-or-later
// The documents of the formats and the tables of the code say the same.
#include "base/strprintf.h"
#include "stream/hvm_context.h"
#include "stream/libxc_format.h"
#include "stream/libxl_format.h"
#include "stream/savefile.h"
#include "stream/xl_savefile.h"

#include <fstream>
#include <gtest/gtest.h>
#include <sstream>

namespace godwit::stream {

using namespace base;

namespace {

std::string document(const std::string &name)
{
    std::ifstream file(GODWIT_DOCS "/" + name);
    std::stringstream out;
    out << file.rdbuf();
    return out.str();
}

std::string lengthOf(uint32_t least, uint32_t most, uint32_t granule)
{
    if (least == most)
        return std::to_string(least);
    const std::string text = strprintf("%u … %u", least, most);
    return granule > 1 ? text + strprintf(", in steps of %u", granule) : text;
}

size_t rowsOf(const std::string &text, const std::string &begin)
{
    size_t rows = 0;
    for (size_t at = text.find(begin); at != text.npos; at = text.find(begin, at + 1))
        rows++;
    return rows;
}

} // namespace

TEST(StreamDocument, HasExactlyTheLibxcRecordsOfTheCode)
{
    const std::string text = document("stream-libxc.md");
    for (const auto &info : libxc::records) {
        const char *guests = info.guests == libxc::Guests::Hvm ? "HVM" : info.guests == libxc::Guests::Pv ? "PV" : "both";
        const std::string row = strprintf("| 0x%02x | %s | %s | %u | %s |", static_cast<unsigned>(info.type), info.name,
            lengthOf(info.minLength, info.maxLength, info.granule).c_str(), info.sinceVersion, guests);
        EXPECT_NE(text.find(row), std::string::npos) << "missing:\n" << row;
    }
    EXPECT_EQ(rowsOf(text, "\n| 0x"), libxc::records.size());
}

TEST(StreamDocument, HasExactlyTheLibxlRecordsOfTheCode)
{
    const std::string text = document("stream-libxl.md");
    for (const auto &info : libxl::records) {
        const std::string row = strprintf("| %u | %s | %s |", static_cast<unsigned>(info.type), info.name,
                                          lengthOf(info.minLength, info.maxLength, 1).c_str());
        EXPECT_NE(text.find(row), std::string::npos) << "missing:\n" << row;
    }
}

TEST(StreamDocument, HasTheHvmContextEntriesOfTheCode)
{
    const std::string text = document("stream-libxc.md");
    for (const auto &info : stream::hvm::entryTypes) {
        const std::string cells = strprintf("| %s | %u |", info.name, static_cast<unsigned>(info.type));
        EXPECT_NE(text.find(cells), std::string::npos) << "missing:\n" << cells;
    }
}

// Each format has its page, which says what its writers do against its specification.
TEST(StreamDocument, IsThereForEveryFormatWithItsErrata)
{
    const std::string index = document("stream.md");
    for (const std::string name : {"image-libvirt.md", "image-xl.md", "stream-libxl.md", "stream-libxc.md", "stream-legacy.md"}) {
        EXPECT_NE(document(name).find("\n## Errata\n"), std::string::npos) << name;
        EXPECT_NE(index.find("](" + name + ")"), std::string::npos) << name;
    }
}

TEST(StreamDocument, HasTheLimitsOfTheCode)
{
    EXPECT_NE(document("image-libvirt.md").find(strprintf("at most %u MiB", maxXmlLength >> 20)), std::string::npos);
    EXPECT_NE(document("image-xl.md").find(strprintf("at most %u MiB", maxXlData >> 20)), std::string::npos);
    EXPECT_NE(document("stream-libxc.md").find(strprintf("record; %u MiB are ours", libxc::maxBlob >> 20)), std::string::npos);
}

} // namespace godwit::stream
