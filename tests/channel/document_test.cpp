// SPDX-License-Identifier: LGPL-2.1-or-later
// docs/channel.md and the code say the same.
#include "base/strprintf.h"
#include "channel/preface.h"

#include <algorithm>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>

using namespace godwit::base;
using namespace godwit::channel;

namespace {

std::string document()
{
    std::ifstream file(GODWIT_DOCS "/channel.md");
    std::stringstream out;
    out << file.rdbuf();
    return out.str();
}

/// Where encodePreface puts what `change` changes.
template <typename Change>
size_t offsetOf(Change change)
{
    Preface preface, changed;
    change(changed);
    const auto one = encodePreface(preface), other = encodePreface(changed);
    const size_t byte = static_cast<size_t>(std::ranges::mismatch(one, other).in1 - one.begin());
    return byte / 4 * 4;
}

} // namespace

TEST(ChannelDocument, HasTheFieldsOfThePrefaceWhereTheCodePutsThem)
{
    const std::string text = document();
    const auto expectRow = [&](size_t offset, const char *type, const char *field) {
        const std::string row = strprintf("| %zu | %s | %s", offset, type, field);
        EXPECT_NE(text.find(row), text.npos) << "missing: " << row;
    };
    expectRow(0, "u64", "magic");
    expectRow(offsetOf([](Preface &preface) { preface.version++; }), "u32", "version, 1");
    expectRow(offsetOf([](Preface &preface) { preface.flags++; }), "u32", "flags");
    expectRow(offsetOf([](Preface &preface) { preface.index++; }), "u32", "index");
    expectRow(offsetOf([](Preface &preface) { preface.count++; }), "u32", "count");
    expectRow(offsetOf([](Preface &preface) { preface.secret[0] = std::byte{1}; }), "32 bytes", "secret");
    EXPECT_NE(text.find(strprintf("destination: %zu bytes", prefaceSize)), text.npos);
    EXPECT_NE(text.find(strprintf("at most %u |", maxOutcomeText)), text.npos);
}
