// SPDX-License-Identifier: LGPL-2.1-or-later
// Each rule of docs/stream.md, "What is verified", broken once.
#include "tests/stream/stream_parts.h"

namespace godwit::stream {

using namespace base;
using namespace tests;

namespace {

Report verify(const Bytes &stream, const VerifyOptions &options = {})
{
    MemorySource source(stream);
    return verifyStream(source, options).value();
}

/// What is found, a line for each; offsets are another test's.
std::string findingsOf(const Parts &parts)
{
    return textOf(verify(parts.all()));
}

} // namespace

TEST(Verify, FindsNothingInGoodStreams)
{
    EXPECT_EQ(findingsOf(hvmStream()), "");
    EXPECT_EQ(findingsOf(hvmStream(2)), "");
    EXPECT_EQ(findingsOf(pvStream()), "");
    EXPECT_EQ(findingsOf(remusStream()), "");
    EXPECT_TRUE(verify(hvmStream().all()).complete);
}

TEST(Verify, SaysWhereThingsAre)
{
    const auto parts = hvmStream().twice("HVM_CONTEXT");
    const Report report = verify(parts.all());
    ASSERT_EQ(report.findings.size(), 1u);
    EXPECT_EQ(report.findings[0].offset, 4336u);
    EXPECT_EQ(report.findings[0].text(), "HVM_CONTEXT at byte 4336: comes a second time");
    EXPECT_FALSE(report.isValid());
    EXPECT_TRUE(report.complete);
}

TEST(Verify, ChecksHeaders)
{
    const auto good = hvmStream();
    EXPECT_EQ(findingsOf(good.with("libxl header", flipped(good.get("libxl header"), 12))), "libxl header: unknown options 0x1000000\n");
    EXPECT_EQ(findingsOf(good.with("libxl header", flipped(good.get("libxl header"), 15))), "libxl header: the stream is big-endian\n");
    EXPECT_EQ(findingsOf(good.with("libxl header", flipped(good.get("libxl header"), 11))), "libxl header: libxl stream version 3 is not known (2 is)\n");
    EXPECT_EQ(findingsOf(good.with("image header", flipped(good.get("image header"), 3))),
              "libxc image header: the marker is wrong: this may be a legacy stream\n");
    EXPECT_EQ(findingsOf(good.with("image header", flipped(good.get("image header"), 9))),
              "libxc image header: the identification is wrong\n");
    EXPECT_EQ(findingsOf(good.with("image header", flipped(good.get("image header"), 15, 4))),
              "libxc image header: version 7 is not known (2 and 3 are)\n");
    EXPECT_EQ(findingsOf(good.with("image header", flipped(good.get("image header"), 17, 4))),
              "libxc image header: unknown options 0x4\n");
    EXPECT_NE(findingsOf(good.with("image header", flipped(good.get("image header"), 20))), "");
    EXPECT_EQ(findingsOf(good.with("domain header", flipped(good.get("domain header"), 0, 4))),
              "libxc domain header: guest type 6 is not known\n");
    EXPECT_EQ(findingsOf(good.with("domain header", flipped(good.get("domain header"), 4))), "libxc domain header: pages of 2^13 bytes\n");
    EXPECT_NE(findingsOf(good.with("domain header", flipped(good.get("domain header"), 6))), "");
}

TEST(Verify, ChecksLengthsAndPadding)
{
    EXPECT_EQ(findingsOf(hvmStream().withBody("X86_TSC_INFO", Bytes(23))), "X86_TSC_INFO: has the wrong length 23\n");
    EXPECT_EQ(findingsOf(hvmStream().withBody("STATIC_DATA_END", Bytes(1))), "STATIC_DATA_END: has the wrong length 1\n");
    EXPECT_EQ(findingsOf(hvmStream().withBody("HVM_CONTEXT", {})), "HVM_CONTEXT: has the wrong length 0\n");
    EXPECT_EQ(findingsOf(hvmStream().withBody("X86_CPUID_POLICY", Bytes(25))), "X86_CPUID_POLICY: has the wrong length 25\n");
    EXPECT_EQ(findingsOf(hvmStream().withBody("X86_MSR_POLICY", {})), "X86_MSR_POLICY: has the wrong length 0\n");
    EXPECT_EQ(findingsOf(hvmStream().withBody("libxl LIBXC_CONTEXT", Bytes(8))), "LIBXC_CONTEXT: has the wrong length 8\n");
    EXPECT_EQ(findingsOf(hvmStream().withBody("libxl END", Bytes(1))), "END: has the wrong length 1\n");
    EXPECT_EQ(findingsOf(hvmStream().withBody("libxl EMULATOR_CONTEXT", Bytes(7))), "EMULATOR_CONTEXT: has the wrong length 7\n");
    EXPECT_EQ(findingsOf(pvStream().withBody("SHARED_INFO", Bytes(4095))), "SHARED_INFO: has the wrong length 4095\n");
    const Bytes padded = record(Xl::EmulatorContext, emulator(bytesOf("123")));
    EXPECT_EQ(findingsOf(hvmStream().with("libxl EMULATOR_CONTEXT", flipped(padded, padded.size() - 1))),
              "EMULATOR_CONTEXT: has padding that is not zero\n");
}

TEST(Verify, KnowsWhatMayBeUnknown)
{
    EXPECT_EQ(findingsOf(hvmStream().before("END", record(0x80000013, Bytes(5)))),
              "warning: libxc record 0x80000013: is unknown and optional: readers skip it\n");
    EXPECT_EQ(findingsOf(hvmStream().before("END", record(0x13, Bytes(5)))), "libxc record 0x13: is unknown and not optional\n");
    EXPECT_EQ(findingsOf(hvmStream().before("libxl END", record(6, Bytes(5)))), "libxl record 0x6: is unknown, and libxl skips nothing\n");
    EXPECT_EQ(findingsOf(hvmStream().before("libxl END", record(0x80000006))),
              "libxl record 0x80000006: is unknown, and libxl skips nothing\n");
}

TEST(Verify, KeepsRecordsToTheirVersionsAndGuests)
{
    EXPECT_EQ(findingsOf(hvmStream(2).before("PAGE_DATA", record(Xc::StaticDataEnd))),
              "STATIC_DATA_END: does not belong into a stream of version 2\n");
    EXPECT_EQ(findingsOf(hvmStream(2).before("PAGE_DATA", record(Xc::X86CpuidPolicy, Bytes(24)))),
              "X86_CPUID_POLICY: does not belong into a stream of version 2\n");
    EXPECT_EQ(findingsOf(hvmStream().before("END", record(Xc::SharedInfo, Bytes(pageSize)))),
              "SHARED_INFO: does not belong to this type of guest\n");
    EXPECT_EQ(findingsOf(pvStream().before("END", record(Xc::HvmContext, libxc::encodeEmptyHvmContext()))),
              "HVM_CONTEXT: does not belong to this type of guest\n");
    EXPECT_EQ(findingsOf(pvStream().before("libxl END", record(Xl::EmulatorContext, emulator()))),
              "EMULATOR_CONTEXT: does not belong to this type of guest\n");
    EXPECT_EQ(findingsOf(hvmStream().before("END", record(Xc::Toolstack, Bytes(5)))),
              "TOOLSTACK: is obsolete: no release of Xen restores it\n");
    EXPECT_EQ(findingsOf(hvmStream().before("END", record(Xc::CheckpointDirtyPfnList, Bytes(8)))),
              "CHECKPOINT_DIRTY_PFN_LIST: only goes from the secondary host to the primary one\n");
}

TEST(Verify, DemandsTheOrderOfStaticData)
{
    EXPECT_EQ(findingsOf(hvmStream().after("STATIC_DATA_END", record(Xc::X86CpuidPolicy, Bytes(24))).without("X86_CPUID_POLICY")),
              "X86_CPUID_POLICY: comes after STATIC_DATA_END\n");
    EXPECT_EQ(findingsOf(hvmStream().after("STATIC_DATA_END", record(Xc::X86MsrPolicy, Bytes(16))).without("X86_MSR_POLICY")),
              "X86_MSR_POLICY: comes after STATIC_DATA_END\n");
    EXPECT_EQ(findingsOf(hvmStream().without("STATIC_DATA_END").twice("PAGE_DATA")),
              "PAGE_DATA: comes before STATIC_DATA_END\nEND: comes without STATIC_DATA_END before it\n");
    EXPECT_EQ(findingsOf(hvmStream().twice("STATIC_DATA_END")), "STATIC_DATA_END: comes a second time\n");
    EXPECT_EQ(findingsOf(hvmStream().twice("X86_MSR_POLICY")), "X86_MSR_POLICY: comes a second time\n");
    EXPECT_EQ(findingsOf(hvmStream().without("X86_CPUID_POLICY").without("X86_MSR_POLICY")), "");
}

TEST(Verify, DemandsThePvOrder)
{
    const std::string infoMissing = findingsOf(pvStream().without("X86_PV_INFO"));
    for (const char *what : {"X86_PV_P2M_FRAMES", "PAGE_DATA", "SHARED_INFO", "X86_PV_VCPU_BASIC"})
        EXPECT_NE(infoMissing.find(strprintf("%s: comes before X86_PV_INFO\n", what)), std::string::npos) << infoMissing;
    EXPECT_EQ(findingsOf(pvStream().without("X86_PV_P2M_FRAMES")),
              "PAGE_DATA: comes before X86_PV_P2M_FRAMES\nEND: comes without X86_PV_P2M_FRAMES before it\n");
    EXPECT_EQ(findingsOf(pvStream().twice("X86_PV_P2M_FRAMES")), "");
    EXPECT_EQ(findingsOf(pvStream().twice("X86_PV_INFO")), "X86_PV_INFO: comes a second time\n");
    EXPECT_EQ(findingsOf(pvStream().before("END", pvStream().get("PAGE_DATA"))), "PAGE_DATA: comes after the processors' records\n");
    EXPECT_EQ(findingsOf(pvStream().without("PAGE_DATA").before("X86_PV_VCPU_EXTENDED", pvStream().get("PAGE_DATA"))),
              "X86_PV_VCPU_BASIC: comes before PAGE_DATA\nPAGE_DATA: comes after the processors' records\n");
}

TEST(Verify, FindsItOddWhenPagesOrKeysComeLate)
{
    const Bytes pages = hvmStream().get("PAGE_DATA");
    for (const char *what : {"HVM_CONTEXT", "HVM_PARAMS"}) {
        const char *other = std::string_view(what) == "HVM_PARAMS" ? "HVM_CONTEXT" : "HVM_PARAMS";
        EXPECT_EQ(findingsOf(hvmStream().before("END", hvmStream().get(other)).without(other).after(what, concat({pages, pages}))),
                  "warning: PAGE_DATA: comes after HVM_CONTEXT or HVM_PARAMS of the same image\n") << what;
    }
    EXPECT_EQ(findingsOf(hvmStream().after("X86_TSC_INFO", pages)), "");
    EXPECT_EQ(findingsOf(hvmStream().before("libxl END", hvmStream().get("libxl EMULATOR_XENSTORE_DATA")).without("libxl EMULATOR_XENSTORE_DATA")),
              "warning: EMULATOR_XENSTORE_DATA: comes after EMULATOR_CONTEXT\n");
}

TEST(Verify, MissesWhatIsMissing)
{
    EXPECT_EQ(findingsOf(hvmStream().without("HVM_CONTEXT")), "END: comes without HVM_CONTEXT before it\n");
    EXPECT_EQ(findingsOf(hvmStream().without("HVM_PARAMS")), "warning: END: comes without HVM_PARAMS before it\n");
    EXPECT_EQ(findingsOf(hvmStream().without("X86_TSC_INFO")), "warning: END: comes without X86_TSC_INFO before it\n");
    EXPECT_EQ(findingsOf(hvmStream().without("PAGE_DATA")), "warning: END: comes without PAGE_DATA before it\n");
    EXPECT_EQ(findingsOf(pvStream().without("SHARED_INFO")), "END: comes without SHARED_INFO before it\n");
    EXPECT_EQ(findingsOf(pvStream().withBody("X86_PV_VCPU_BASIC", vcpu(1, 0x1430))),
              "END: comes without X86_PV_VCPU_BASIC of processor 0 before it\n"
              "warning: END: comes without X86_PV_VCPU_BASIC of processor 0, which has other records\n");
    // Without libxc's END, libxl's records are taken for libxc's.
    EXPECT_TRUE(findingsOf(hvmStream().without("END")).starts_with("X86_PV_INFO: has the wrong length 18\n"));
    EXPECT_EQ(findingsOf(hvmStream().without("libxl END")), "record header: the stream ends at byte 4448\n");
}

TEST(Verify, FindsWhatComesTwice)
{
    EXPECT_EQ(findingsOf(hvmStream().twice("X86_TSC_INFO")), "X86_TSC_INFO: comes a second time\n");
    EXPECT_EQ(findingsOf(pvStream().twice("SHARED_INFO")), "SHARED_INFO: comes a second time\n");
    EXPECT_EQ(findingsOf(pvStream().twice("X86_PV_VCPU_XSAVE")), "X86_PV_VCPU_XSAVE: comes a second time for processor 0\n");
    EXPECT_EQ(findingsOf(hvmStream().twice("libxl EMULATOR_CONTEXT")), "EMULATOR_CONTEXT: comes a second time\n");
    EXPECT_EQ(findingsOf(hvmStream().twice("HVM_PARAMS")), "warning: HVM_PARAMS: has parameter 1 a second time\n"
                                                     "warning: HVM_PARAMS: has parameter 17 a second time\n");
    EXPECT_EQ(findingsOf(hvmStream().after("PAGE_DATA", record(Xc::Verify)).after("PAGE_DATA", record(Xc::Verify))),
              "VERIFY: comes a second time\n");
    EXPECT_NE(findingsOf(hvmStream().before("END", concat({hvmStream().get("libxl LIBXC_CONTEXT"), record(Xc::End)}))), "");
}

TEST(Verify, ChecksPages)
{
    EXPECT_EQ(findingsOf(hvmStream().withBody("PAGE_DATA", Bytes(8))), "PAGE_DATA: has 0 pages in 8 bytes\n");
    EXPECT_EQ(findingsOf(hvmStream().withBody("PAGE_DATA", Bytes(7))), "PAGE_DATA: has the wrong length 7\n");
    EXPECT_EQ(findingsOf(hvmStream().withBody("PAGE_DATA", flipped(pageData({{Pfn{1}}}), 4))), "PAGE_DATA: has reserved bits set: 0x1\n");
    EXPECT_EQ(findingsOf(hvmStream().withBody("PAGE_DATA", flipped(pageData({{Pfn{1}}}), 15, 0x50))),
              "PAGE_DATA: invalid page type in the page word 0x5000000000000001\n");
    EXPECT_EQ(findingsOf(hvmStream().withBody("PAGE_DATA", flipped(pageData({{Pfn{1}}}), 14, 0x10))),
              "PAGE_DATA: reserved bits in the page word 0x0010000000000001\n");
    EXPECT_EQ(findingsOf(hvmStream().withBody("PAGE_DATA", concat({pageData({{Pfn{1}}}), Bytes(8)}))),
              "PAGE_DATA: has 4120 bytes for 1 pages, 1 of them with data\n");
    EXPECT_EQ(findingsOf(hvmStream().withBody("PAGE_DATA", pageData({{Pfn{(uint64_t{1} << 40) - 1}}}))), "");
    EXPECT_EQ(findingsOf(hvmStream().withBody("PAGE_DATA", pageData({{Pfn{uint64_t{1} << 40}}}))),
              "PAGE_DATA: has page 0x10000000000, the guest's last one is 0xffffffffff\n");
    EXPECT_EQ(findingsOf(pvStream().withBody("PAGE_DATA", pageData({{Pfn{1001}}, {Pfn{1002}}}))),
              "PAGE_DATA: has page 0x3e9, the guest's last one is 0x3e8\n");
    EXPECT_EQ(findingsOf(pvStream().withBody("PAGE_DATA", pageData({{Pfn{1}, PageType::PinnedL4}}))), "");
    EXPECT_EQ(findingsOf(hvmStream().withBody("PAGE_DATA", pageData({{Pfn{1}, PageType::L1}}))),
              "warning: PAGE_DATA: has page tables, which only PV guests have\n");
}

TEST(Verify, LooksIntoPvRecords)
{
    EXPECT_EQ(findingsOf(pvStream().withBody("X86_PV_INFO", libxc::encodePvInfo({8, 3}))),
              "X86_PV_INFO: there is no guest with words of 8 bytes and page tables of 3 levels\n");
    EXPECT_EQ(findingsOf(pvStream().withBody("X86_PV_P2M_FRAMES", libxc::encodeP2mFrames({0, 1000, {3}}))),
              "X86_PV_P2M_FRAMES: has 8 bytes of frames instead of 16\n");
    EXPECT_EQ(findingsOf(pvStream().withBody("X86_PV_P2M_FRAMES", libxc::encodeP2mFrames({0, 1000, {3, 1001}}))),
              "X86_PV_P2M_FRAMES: has its table in page 0x3e9, the guest's last one is 0x3e8\n");
    EXPECT_EQ(findingsOf(pvStream().before("X86_PV_P2M_FRAMES", record(Xc::X86PvP2mFrames, libxc::encodeP2mFrames({2, 1, {3}})))),
              "X86_PV_P2M_FRAMES: ends at page 1 before it begins at 2\n");
    EXPECT_EQ(findingsOf(pvStream().withBody("X86_PV_VCPU_BASIC", vcpu(0, 0xaf0))), "X86_PV_VCPU_BASIC: has a context of the wrong length 2800\n");
    EXPECT_EQ(findingsOf(pvStream().withBody("X86_PV_VCPU_XSAVE", vcpu(0, 15))), "X86_PV_VCPU_XSAVE: has a context of the wrong length 15\n");
    EXPECT_EQ(findingsOf(pvStream().withBody("X86_PV_VCPU_XSAVE", vcpu(0, 0))), "warning: X86_PV_VCPU_XSAVE: is empty, as old releases wrote it\n");
    EXPECT_EQ(findingsOf(pvStream().withBody("X86_PV_VCPU_BASIC", vcpu(0, 0))), "X86_PV_VCPU_BASIC: has a context of the wrong length 0\n");
    EXPECT_EQ(findingsOf(pvStream().withBody("X86_PV_VCPU_MSRS", vcpu(8192, 16))), "X86_PV_VCPU_MSRS: is of processor 8192\n");
    EXPECT_EQ(findingsOf(pvStream().withBody("X86_PV_VCPU_MSRS", flipped(vcpu(0, 16), 4))), "X86_PV_VCPU_MSRS: has reserved bits set: 0x1\n");
    EXPECT_EQ(findingsOf(pvStream().withBody("X86_PV_VCPU_MSRS", flipped(vcpu(0, 16), 12))),
              "X86_PV_VCPU_MSRS: has an entry with reserved bits set\n");
}

TEST(Verify, LooksIntoOtherRecords)
{
    EXPECT_NE(findingsOf(hvmStream().withBody("X86_TSC_INFO", flipped(Bytes(24), 20))), "");
    EXPECT_EQ(findingsOf(hvmStream().withBody("X86_TSC_INFO", flipped(Bytes(24), 0, 4))), "warning: X86_TSC_INFO: has mode 4, which is not known\n");
    EXPECT_EQ(findingsOf(hvmStream().withBody("X86_MSR_POLICY", flipped(Bytes(16), 4))), "warning: X86_MSR_POLICY: has an entry with unknown flags 0x1\n");
    EXPECT_EQ(findingsOf(hvmStream().withBody("HVM_PARAMS", flipped(Bytes(24), 0, 2))), "HVM_PARAMS: has 2 parameters in 16 bytes\n");
    EXPECT_EQ(findingsOf(hvmStream().withBody("HVM_PARAMS", flipped(Bytes(8), 4))), "HVM_PARAMS: has reserved bits set: 0x1\n");
    EXPECT_EQ(findingsOf(hvmStream().withBody("HVM_PARAMS", Bytes(8))), "");
    EXPECT_EQ(findingsOf(hvmStream().withBody("HVM_PARAMS", libxc::encodeHvmParams(std::vector<libxc::HvmParam>{{39, 0}}))),
              "warning: HVM_PARAMS: has parameter 39, which is not known\n");
    const Bytes context = libxc::encodeEmptyHvmContext();
    EXPECT_EQ(findingsOf(hvmStream().withBody("HVM_CONTEXT", Bytes(5))), "warning: HVM_CONTEXT: has entries that do not end with Xen's\n");
    EXPECT_EQ(findingsOf(hvmStream().withBody("HVM_CONTEXT", Bytes(8))), "warning: HVM_CONTEXT: has entries that are not Xen's\n");
    EXPECT_EQ(findingsOf(hvmStream().withBody("HVM_CONTEXT", concat({context, Bytes(8)}))), "warning: HVM_CONTEXT: goes on after its end\n");
    EXPECT_EQ(findingsOf(hvmStream().withBody("HVM_CONTEXT", flipped(context, 8))), "warning: HVM_CONTEXT: the HVM context's magic is wrong\n");
    EXPECT_EQ(findingsOf(hvmStream().withBody("HVM_CONTEXT", flipped(context, 4))), "warning: HVM_CONTEXT: has entries that are not Xen's\n");
}

TEST(Verify, LooksIntoEmulatorRecords)
{
    EXPECT_EQ(findingsOf(hvmStream().withBody("libxl EMULATOR_CONTEXT", flipped(emulator(), 0))), "EMULATOR_CONTEXT: emulator 3 is not known\n");
    EXPECT_EQ(findingsOf(hvmStream().withBody("libxl EMULATOR_CONTEXT", emulator({}))), "warning: EMULATOR_CONTEXT: is empty\n");
    EXPECT_EQ(findingsOf(hvmStream().withBody("libxl EMULATOR_CONTEXT", emulator(bytesOf("x"), libxl::Emulator::Unknown))),
              "warning: EMULATOR_CONTEXT: is of an unknown emulator, in a stream that no converter made\n");
    EXPECT_EQ(findingsOf(hvmStream().withBody("libxl EMULATOR_XENSTORE_DATA", emulator(bytesOf({"key\0value", 9})))),
              "EMULATOR_XENSTORE_DATA: ends inside a key and its value\n");
    EXPECT_EQ(findingsOf(hvmStream().withBody("libxl EMULATOR_XENSTORE_DATA", emulator(bytesOf({"key\0", 4})))),
              "EMULATOR_XENSTORE_DATA: ends inside a key and its value\n");
    EXPECT_EQ(findingsOf(hvmStream().withBody("libxl EMULATOR_XENSTORE_DATA", emulator(bytesOf({"k y\0v\0", 6})))),
              "EMULATOR_XENSTORE_DATA: has a key that xenstore does not allow\n");
    EXPECT_EQ(findingsOf(hvmStream().withBody("libxl EMULATOR_XENSTORE_DATA", emulator(bytesOf({"key\0\1\0", 6})))),
              "warning: EMULATOR_XENSTORE_DATA: has a value of key that is not plain text\n");
}

TEST(Verify, DemandsTheLayersOrder)
{
    EXPECT_EQ(findingsOf(hvmStream().before("libxl LIBXC_CONTEXT", record(Xl::EmulatorContext, emulator({}, libxl::Emulator::QemuTraditional)))),
              "EMULATOR_CONTEXT: comes before LIBXC_CONTEXT\nwarning: EMULATOR_CONTEXT: is empty\n");
    EXPECT_EQ(textOf(verify(concat({libxl::encodeHeader({}), record(Xl::End)}))), "END: comes before LIBXC_CONTEXT\n");
    EXPECT_NE(findingsOf(hvmStream().before("libxl END", hvmStream().get("libxl LIBXC_CONTEXT"))).find("LIBXC_CONTEXT: comes a second time"),
              std::string::npos);
    EXPECT_EQ(findingsOf(hvmStream().before("libxl END", record(Xl::CheckpointEnd))), "CHECKPOINT_END: comes without a CHECKPOINT before it\n");
}

TEST(Verify, DemandsTheCheckpointsStructure)
{
    const Bytes fresh = record(Xl::CheckpointState, libxl::encodeCheckpointState(libxl::CheckpointState::New));
    EXPECT_EQ(findingsOf(remusStream().after("libxl CHECKPOINT_END", fresh)), "");
    EXPECT_EQ(findingsOf(remusStream().before("libxl CHECKPOINT_END", fresh)), "CHECKPOINT_STATE: does not follow CHECKPOINT_END\n");
    EXPECT_EQ(findingsOf(remusStream().after("libxl CHECKPOINT_END", record(Xl::CheckpointState, flipped(Bytes(4), 0)))),
              "CHECKPOINT_STATE: only goes from the secondary host to the primary one\n");
    EXPECT_EQ(findingsOf(remusStream().after("libxl CHECKPOINT_END", record(Xl::CheckpointState, flipped(Bytes(4), 0, 4)))),
              "CHECKPOINT_STATE: checkpoint state 4 is not known\n");
    EXPECT_EQ(findingsOf(hvmStream().with("END", record(Xc::Checkpoint))), "END: comes before CHECKPOINT_END\n");
    EXPECT_EQ(findingsOf(remusStream().without("HVM_CONTEXT")), "CHECKPOINT: comes without HVM_CONTEXT before it\n");
    EXPECT_EQ(findingsOf(remusStream().before("CHECKPOINT", record(Xc::Verify))),
              "CHECKPOINT: comes in a stream with VERIFY, which cannot have checkpoints\n");
    EXPECT_EQ(findingsOf(remusStream().before("CHECKPOINT", remusStream().get("X86_TSC_INFO"))), "X86_TSC_INFO: comes a second time\n");
}

TEST(Verify, TellsHowManyCheckpointsOfACutStreamAreWhole)
{
    const Bytes stream = remusStream().all();
    const auto afterFirst = stream.size() - concat({remusStream().get("second image"), remusStream().get("END"), remusStream().get("last emulator"),
                                                    remusStream().get("libxl END")}).size();
    const Report report = verify({stream.begin(), stream.begin() + static_cast<ptrdiff_t>(afterFirst)});
    EXPECT_EQ(textOf(report), strprintf("record header: the stream ends at byte %zu (after 1 whole checkpoints)\n", afterFirst));
    EXPECT_FALSE(report.complete);
}

TEST(Verify, WantsNothingBehindTheEnd)
{
    const Bytes stream = concat({hvmStream().all(), Bytes(1)});
    EXPECT_EQ(textOf(verify(stream)), "end of the stream: is followed by more\n");
    EXPECT_TRUE(verify(stream, {.isAlone = false}).isValid());
}

TEST(Verify, CountsMoreThanItKeeps)
{
    Parts parts = hvmStream();
    for (int i = 0; i < 300; i++)
        parts = parts.before("END", record(0x13));
    const Report report = verify(parts.all(), {.maxFindings = 7});
    EXPECT_EQ(report.findings.size(), 7u);
    EXPECT_EQ(report.errors, 300u);
    EXPECT_TRUE(report.complete);
}

TEST(Verify, TellsItsProgress)
{
    std::vector<uint64_t> offsets;
    verify(hvmStream().all(), {.progress = [&](uint64_t offset) { offsets.push_back(offset); }});
    EXPECT_EQ(offsets.size(), 12u);
    EXPECT_TRUE(std::ranges::is_sorted(offsets));
}

} // namespace godwit::stream
