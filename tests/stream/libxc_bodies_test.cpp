// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stream/libxc_bodies.h"
#include "tests/stream/streams.h"

#include <gtest/gtest.h>

namespace godwit::stream::libxc {

using namespace base;
using namespace tests;

namespace {

constexpr PvInfo bits64{8, 4}, bits32{4, 3};

Bytes cut(Bytes bytes, size_t length)
{
    bytes.resize(length);
    return bytes;
}

/// Every shorter body is refused, and one that is longer by `more`.
void refusesOtherLengths(const Bytes &body, const auto &decode, size_t more = 1)
{
    for (size_t length = 0; length < body.size(); length++)
        EXPECT_FALSE(decode(cut(body, length))) << length;
    EXPECT_FALSE(decode(cut(body, body.size() + more)));
}

} // namespace

TEST(X86PvInfoRecord, IsReadAsWritten)
{
    for (const PvInfo &info : {bits64, bits32}) {
        EXPECT_EQ(decodePvInfo(encodePvInfo(info)).value(), info);
        refusesOtherLengths(encodePvInfo(info), decodePvInfo);
    }
}

TEST(X86PvInfoRecord, KnowsTwoKindsOfGuests)
{
    for (unsigned width = 0; width < 256; width++)
        for (unsigned levels = 0; levels < 256; levels++) {
            const PvInfo info{static_cast<uint8_t>(width), static_cast<uint8_t>(levels)};
            EXPECT_EQ(decodePvInfo(encodePvInfo(info)).has_value(), info == bits64 || info == bits32);
        }
    for (size_t i = 2; i < 8; i++) {
        Bytes bad = encodePvInfo(bits64);
        bad[i] = std::byte{1};
        EXPECT_FALSE(decodePvInfo(bad));
    }
}

TEST(X86PvP2mFramesRecord, HasExactlyTheFramesOfItsPages)
{
    const struct { uint32_t first, last; PvInfo guest; size_t count; } cases[] = {
        {0, 0, bits64, 1}, {0, 511, bits64, 1}, {0, 512, bits64, 2}, {511, 512, bits64, 2}, {512, 1023, bits64, 1},
        {0, 1023, bits32, 1}, {0, 1024, bits32, 2}, {1023, 1024, bits32, 2}, {5, 0xffff, bits64, 128},
    };
    for (const auto &one : cases) {
        const P2mFrames p2m{one.first, one.last, std::vector<uint64_t>(one.count, 7)};
        const Bytes body = encodeP2mFrames(p2m);
        EXPECT_EQ(decodeP2mFrames(body, one.guest).value(), p2m);
        EXPECT_FALSE(decodeP2mFrames(cut(body, body.size() - 8), one.guest));
        EXPECT_FALSE(decodeP2mFrames(cut(body, body.size() + 8), one.guest));
        refusesOtherLengths(body, [&](const Bytes &bytes) { return decodeP2mFrames(bytes, one.guest); });
    }
    EXPECT_FALSE(decodeP2mFrames(encodeP2mFrames({1, 0, {7}}), bits64));
    EXPECT_FALSE(decodeP2mFrames(encodeP2mFrames({0, ~0u, {7}}), bits64));
}

TEST(X86PvVcpuRecords, HaveContextsOfTheGuestsLength)
{
    const struct { RecordType type; PvInfo guest; std::vector<uint32_t> good, bad; } cases[] = {
        {RecordType::X86PvVcpuBasic, bits64, {0x1430}, {0, 0xaf0, 0x142f, 0x1431}},
        {RecordType::X86PvVcpuBasic, bits32, {0xaf0}, {0, 0x1430, 0xaef, 0xaf1}},
        {RecordType::X86PvVcpuExtended, bits64, {0, 1, 128}, {129}},
        {RecordType::X86PvVcpuXsave, bits64, {0, 16, 17, 4096}, {1, 15}},
        {RecordType::X86PvVcpuMsrs, bits64, {0, 16, 32}, {1, 15, 17}},
    };
    for (const auto &one : cases) {
        for (uint32_t length : one.good) {
            const VcpuContext context{3, Bytes(length, std::byte{5})};
            EXPECT_EQ(decodeVcpuContext(one.type, encodeVcpuContext(context), one.guest).value(), context);
        }
        for (uint32_t length : one.bad)
            EXPECT_FALSE(decodeVcpuContext(one.type, encodeVcpuContext({3, Bytes(length)}), one.guest));
    }
    for (size_t length = 0; length < 8; length++)
        EXPECT_FALSE(decodeVcpuContext(RecordType::X86PvVcpuExtended, Bytes(length), bits64));
    Bytes reserved = encodeVcpuContext({});
    reserved[4] = std::byte{1};
    EXPECT_FALSE(decodeVcpuContext(RecordType::X86PvVcpuExtended, reserved, bits64));
    EXPECT_TRUE(decodeVcpuContext(RecordType::X86PvVcpuExtended, encodeVcpuContext({maxVcpus - 1, {}}), bits64));
    EXPECT_FALSE(decodeVcpuContext(RecordType::X86PvVcpuExtended, encodeVcpuContext({maxVcpus, {}}), bits64));
}

TEST(X86PvVcpuMsrsRecord, IsReadAsWritten)
{
    const std::vector<VcpuMsr> msrs{{0xc0000102, 5}, {0x10, ~uint64_t{0}}};
    const Bytes context = encodeVcpuMsrs(msrs);
    EXPECT_EQ(decodeVcpuMsrs(context).value(), msrs);
    EXPECT_TRUE(decodeVcpuMsrs({}).value().empty());
    EXPECT_FALSE(decodeVcpuMsrs(cut(context, 31)));
    Bytes reserved = context;
    reserved[20] = std::byte{1};
    EXPECT_FALSE(decodeVcpuMsrs(reserved));
}

TEST(SharedInfoRecord, IsAPage)
{
    const Bytes page(pageSize, std::byte{9});
    EXPECT_EQ(encodeSharedInfo(decodeSharedInfo(page).value()), page);
    EXPECT_FALSE(decodeSharedInfo(Bytes(pageSize - 1)));
    EXPECT_FALSE(decodeSharedInfo(Bytes(pageSize + 1)));
}

TEST(X86CpuidPolicyRecord, IsReadAsWritten)
{
    const std::vector<CpuidLeaf> leaves{{0, noSubleaf, 1, 2, 3, 4}, {7, 1, 5, 6, 7, 8}};
    EXPECT_EQ(decodeCpuidPolicy(encodeCpuidPolicy(leaves)).value(), leaves);
    EXPECT_EQ(decodeCpuidPolicy(encodeCpuidPolicy(std::span(leaves).first(1))).value().size(), 1u);
    refusesOtherLengths(encodeCpuidPolicy(std::span(leaves).first(1)), decodeCpuidPolicy);
}

TEST(X86MsrPolicyRecord, IsReadAsWritten)
{
    const std::vector<MsrEntry> entries{{0xce, 0, 0x80000000}, {0x10a, 0, ~uint64_t{0}}};
    EXPECT_EQ(decodeMsrPolicy(encodeMsrPolicy(entries)).value(), entries);
    refusesOtherLengths(encodeMsrPolicy(std::span(entries).first(1)), decodeMsrPolicy);
}

TEST(CheckpointDirtyPfnListRecord, IsReadAsWritten)
{
    const std::vector<Pfn> pfns{{1}, {~uint64_t{0}}};
    EXPECT_EQ(decodeDirtyPfns(encodeDirtyPfns(pfns)).value(), pfns);
    EXPECT_TRUE(decodeDirtyPfns({}).value().empty());
    EXPECT_FALSE(decodeDirtyPfns(Bytes(9)));
}

} // namespace godwit::stream::libxc
