// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stream/hvm_context.h"
#include "stream/libxc_format.h"
#include "tests/stream/streams.h"

#include <gtest/gtest.h>

namespace godwit::stream::hvm {

using namespace base;
using namespace tests;

namespace {

const Bytes cpu(1024, std::byte{3}), pit(52);

Context good()
{
    return {{7, 0x306c3, 3000000}, {{EntryType::Cpu, 0, cpu}, {EntryType::Cpu, 1, cpu}, {EntryType::Pit, 0, pit}}};
}

std::string errorOf(const Bytes &body)
{
    const auto context = decodeContext(body);
    return context ? "" : context.error().message;
}

Bytes entry(uint16_t type, const Bytes &data)
{
    Writer out;
    out.u16(type);
    out.u16(0);
    out.u32(static_cast<uint32_t>(data.size()));
    out.bytes(data);
    return out.take();
}

Bytes header()
{
    const Bytes body = encodeContext({});
    return {body.begin(), body.begin() + 32};
}

} // namespace

TEST(HvmContext, IsReadAsWritten)
{
    const Bytes body = encodeContext(good());
    const Context context = decodeContext(body).value();
    EXPECT_EQ(context.header, good().header);
    ASSERT_EQ(context.entries.size(), 3u);
    EXPECT_EQ(context.entries[1].type, EntryType::Cpu);
    EXPECT_EQ(context.entries[1].instance, 1u);
    EXPECT_EQ(encodeContext(context), body);
    EXPECT_TRUE(decodeContext(stream::libxc::encodeEmptyHvmContext()).value().entries.empty());
}

TEST(HvmContext, RefusesEveryTruncationAndTrailingBytes)
{
    Bytes body = encodeContext(good());
    for (size_t length = 0; length < body.size(); length++)
        EXPECT_NE(errorOf({body.begin(), body.begin() + static_cast<ptrdiff_t>(length)}), "");
    body.push_back(std::byte{0});
    EXPECT_EQ(errorOf(body), "the HVM context goes on after its end");
}

TEST(HvmContext, NeedsItsHeaderFirstAndOnce)
{
    const Bytes end = entry(0, {});
    EXPECT_EQ(errorOf(end), "the HVM context's header is not its first entry");
    EXPECT_EQ(errorOf(concat({header(), header(), end})), "the HVM context's header is not its first entry");
    EXPECT_EQ(errorOf(concat({header(), entry(0, Bytes(8))})), "the HVM context goes on after its end");
    for (size_t i = 8; i < 16; i++) {
        Bytes bad = concat({header(), end});
        bad[i] ^= std::byte{0x40};
        EXPECT_NE(errorOf(bad), "") << i;
    }
    EXPECT_NE(errorOf(concat({entry(1, Bytes(23)), end})), "");
}

TEST(HvmContext, HasALimitOfEntries)
{
    Context context;
    context.entries.resize(maxEntries - 1);
    EXPECT_EQ(errorOf(encodeContext(context)), "");
    context.entries.resize(maxEntries);
    EXPECT_NE(errorOf(encodeContext(context)), "");
}

TEST(HvmContext, NamesItsEntries)
{
    EXPECT_STREQ(nameOf(EntryType::ViridianVcpu), "VIRIDIAN_VCPU");
    EXPECT_EQ(nameOf(static_cast<EntryType>(99)), nullptr);
}

} // namespace godwit::stream::hvm
