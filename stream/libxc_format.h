// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// The libxc migration stream, versions 2 and 3: numbers and names as in Xen's
// docs/specs/libxc-migration-stream.pandoc; docs/stream-libxc.md has the same table.

#include "base/result.h"
#include "base/units.h"
#include "stream/record.h"

#include <array>
#include <span>
#include <vector>

namespace godwit::stream::libxc {

// ---- image header: 24 bytes, big-endian ---------------------------------------------
inline constexpr size_t imageHeaderSize = 24;
inline constexpr uint64_t marker = ~uint64_t{0};
inline constexpr uint32_t ident = 0x58454e46;   // "XENF"
inline constexpr uint32_t oldestVersion = 2;
inline constexpr uint32_t currentVersion = 3;
inline constexpr uint16_t optionBigEndian = 1;

// ---- domain header: 16 bytes, native ------------------------------------------------
inline constexpr size_t domainHeaderSize = 16;

enum class DomainType : uint32_t { Invalid = 0, X86Pv = 1, X86Hvm = 2 };

struct DomainHeader {
    DomainType type = DomainType::X86Hvm;
    uint32_t xenMajor = 0;   ///< 0: made by the converter of legacy streams
    uint32_t xenMinor = 0;
    bool operator==(const DomainHeader &) const = default;
};

// ---- records ------------------------------------------------------------------------
inline constexpr uint32_t maxRecordLength = 128 * 1024 * 1024;   // Xen's REC_LENGTH_MAX
inline constexpr uint32_t optionalRecord = 0x80000000;           // may be skipped when unknown

enum class RecordType : uint32_t {
    End = 0x00,
    PageData = 0x01,
    X86PvInfo = 0x02,
    X86PvP2mFrames = 0x03,
    X86PvVcpuBasic = 0x04,
    X86PvVcpuExtended = 0x05,
    X86PvVcpuXsave = 0x06,
    SharedInfo = 0x07,
    X86TscInfo = 0x08,
    HvmContext = 0x09,
    HvmParams = 0x0a,
    Toolstack = 0x0b,
    X86PvVcpuMsrs = 0x0c,
    Verify = 0x0d,
    Checkpoint = 0x0e,
    CheckpointDirtyPfnList = 0x0f,
    StaticDataEnd = 0x10,
    X86CpuidPolicy = 0x11,
    X86MsrPolicy = 0x12,
};

/// Which guests' streams a record belongs to.
enum class Guests : uint8_t { Hvm = 1, Pv = 2, Both = 3 };

struct RecordInfo {
    RecordType type;
    const char *name;       ///< as the specification spells it
    uint32_t minLength;
    uint32_t maxLength;     ///< of the body
    uint32_t granule;       ///< (length - minLength) is a multiple of it; 1: anything
    uint32_t sinceVersion;
    Guests guests;
};

inline constexpr uint32_t maxBlob = 8 * 1024 * 1024;   // ours: what a whole guest's context may take

inline constexpr auto records = std::to_array<RecordInfo>({
    {RecordType::End,                    "END",                       0,    0,               1,    2, Guests::Both},
    {RecordType::PageData,               "PAGE_DATA",                 16,   maxRecordLength, 8,    2, Guests::Both},
    {RecordType::X86PvInfo,              "X86_PV_INFO",               8,    8,               1,    2, Guests::Pv},
    {RecordType::X86PvP2mFrames,         "X86_PV_P2M_FRAMES",         8,    maxBlob,         8,    2, Guests::Pv},
    {RecordType::X86PvVcpuBasic,         "X86_PV_VCPU_BASIC",         8,    maxBlob,         1,    2, Guests::Pv},
    {RecordType::X86PvVcpuExtended,      "X86_PV_VCPU_EXTENDED",      8,    136,             1,    2, Guests::Pv},
    {RecordType::X86PvVcpuXsave,         "X86_PV_VCPU_XSAVE",         8,    maxBlob,         1,    2, Guests::Pv},
    {RecordType::SharedInfo,             "SHARED_INFO",               4096, 4096,            1,    2, Guests::Pv},
    {RecordType::X86TscInfo,             "X86_TSC_INFO",              24,   24,              1,    2, Guests::Both},
    {RecordType::HvmContext,             "HVM_CONTEXT",               1,    maxBlob,         1,    2, Guests::Hvm},
    {RecordType::HvmParams,              "HVM_PARAMS",                8,    maxBlob,         16,   2, Guests::Hvm},
    {RecordType::Toolstack,              "TOOLSTACK",                 0,    maxBlob,         1,    2, Guests::Both},
    {RecordType::X86PvVcpuMsrs,          "X86_PV_VCPU_MSRS",          8,    maxBlob,         16,   2, Guests::Pv},
    {RecordType::Verify,                 "VERIFY",                    0,    0,               1,    2, Guests::Both},
    {RecordType::Checkpoint,             "CHECKPOINT",                0,    0,               1,    2, Guests::Both},
    {RecordType::CheckpointDirtyPfnList, "CHECKPOINT_DIRTY_PFN_LIST", 0,    maxBlob,         8,    2, Guests::Both},
    {RecordType::StaticDataEnd,          "STATIC_DATA_END",           0,    0,               1,    3, Guests::Both},
    {RecordType::X86CpuidPolicy,         "X86_CPUID_POLICY",          24,   maxBlob,         24,   3, Guests::Both},
    {RecordType::X86MsrPolicy,           "X86_MSR_POLICY",            16,   maxBlob,         16,   3, Guests::Both},
});

/// The table's row, or nullptr.
const RecordInfo *findRecord(uint32_t type);

// ---- PAGE_DATA: u32 count, u32 0, u64 words[count], page data ------------------------
inline constexpr uint32_t pagesPerRecord = 1024;          // what Xen's saver puts into one
inline constexpr uint32_t maxPagesPerRecord = 1 << 20;    // ours: what a reader keeps in memory

/// Bits 63-60 of a word. 5 to 8 are invalid.
enum class PageType : uint8_t {
    Normal = 0,
    L1 = 1, L2 = 2, L3 = 3, L4 = 4,
    PinnedL1 = 9, PinnedL2 = 10, PinnedL3 = 11, PinnedL4 = 12,
    Broken = 13,     ///< no data
    AllocOnly = 14,  ///< XALLOC: populated, no data
    Absent = 15,     ///< XTAB: no data
};

constexpr bool isValid(PageType type)
{
    return type <= PageType::L4 || type >= PageType::PinnedL1;
}

constexpr bool hasData(PageType type)
{
    return type < PageType::Broken;
}

inline constexpr unsigned pageTypeShift = 60;
inline constexpr uint64_t pfnMask = (uint64_t{1} << 52) - 1;

struct PageWord {
    base::Pfn pfn;
    PageType type = PageType::Normal;
    bool operator==(const PageWord &) const = default;
};

constexpr uint64_t encodePageWord(PageWord word)
{
    return static_cast<uint64_t>(word.type) << pageTypeShift | word.pfn.value;
}
base::Result<PageWord> decodePageWord(uint64_t word);

// ---- bodies -------------------------------------------------------------------------
struct TscInfo {
    uint32_t mode = 0;
    uint32_t kHz = 0;
    uint64_t nanoseconds = 0;
    uint32_t incarnation = 0;
    bool operator==(const TscInfo &) const = default;
};

struct HvmParam {
    uint64_t index = 0;
    uint64_t value = 0;
    bool operator==(const HvmParam &) const = default;
};

std::vector<std::byte> encodeImageHeader();
/// The version, 2 or 3.
base::Result<uint32_t> decodeImageHeader(std::span<const std::byte> header);
std::vector<std::byte> encodeDomainHeader(const DomainHeader &header);
base::Result<DomainHeader> decodeDomainHeader(std::span<const std::byte> header);
std::vector<std::byte> encodeTscInfo(const TscInfo &tsc);
base::Result<TscInfo> decodeTscInfo(std::span<const std::byte> body);
std::vector<std::byte> encodeHvmParams(std::span<const HvmParam> params);
base::Result<std::vector<HvmParam>> decodeHvmParams(std::span<const std::byte> body);

/// The HVM context of a guest whose processors and devices are all in the emulator's
/// state: Xen's header and end entries with nothing between them.
std::vector<std::byte> encodeEmptyHvmContext();

} // namespace godwit::stream::libxc
