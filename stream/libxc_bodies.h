// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// Bodies of libxc records that are not in libxc_format.h: those of PV guests, and the CPU
// policies. A body that is too long for its record is refused by the record's table row;
// these functions demand the rest.

#include "stream/libxc_format.h"

namespace godwit::stream::libxc {

// ---- X86_PV_INFO: u8 width, u8 levels, zeros ------------------------------------------
struct PvInfo {
    uint8_t width = 8;      ///< of the guest's words, in bytes
    uint8_t levels = 4;     ///< of its page tables
    bool operator==(const PvInfo &) const = default;
};

/// There are guests of 32 bits with 3 levels, and of 64 bits with 4.
constexpr bool isValid(const PvInfo &info)
{
    return (info.width == 4 && info.levels == 3) || (info.width == 8 && info.levels == 4);
}

std::vector<std::byte> encodePvInfo(const PvInfo &info);
base::Result<PvInfo> decodePvInfo(std::span<const std::byte> body);

// ---- X86_PV_P2M_FRAMES: u32 first, u32 last, u64 frames[] ------------------------------
inline constexpr size_t p2mHeadSize = 8;

/// Where the guest's page-number table for the pages `first` to `last` is.
struct P2mFrames {
    uint32_t first = 0;
    uint32_t last = 0;
    std::vector<uint64_t> frames;
    bool operator==(const P2mFrames &) const = default;
};

/// How many frames hold the entries of these pages. `first` is not above `last`.
constexpr uint64_t p2mFrameCount(uint32_t first, uint32_t last, uint8_t width)
{
    const uint32_t perFrame = static_cast<uint32_t>(base::pageSize) / width;
    return last / perFrame - first / perFrame + 1;
}

std::vector<std::byte> encodeP2mFrames(const P2mFrames &p2m);
base::Result<P2mFrames> decodeP2mFrames(std::span<const std::byte> body, const PvInfo &guest);

// ---- X86_PV_VCPU_*: u32 vcpu, u32 0, context --------------------------------------------
inline constexpr size_t vcpuHeadSize = 8;
inline constexpr uint32_t basic64Length = 0x1430;
inline constexpr uint32_t basic32Length = 0xaf0;
inline constexpr uint32_t maxExtendedLength = 128;
inline constexpr uint32_t minXsaveLength = 16;
inline constexpr uint32_t vcpuMsrLength = 16;
inline constexpr uint32_t maxVcpus = 8192;   // Xen's limit of any guest

struct VcpuContext {
    uint32_t vcpu = 0;
    std::vector<std::byte> context;   ///< may be empty: old releases wrote such records
    bool operator==(const VcpuContext &) const = default;
};

/// An entry of X86_PV_VCPU_MSRS' context.
struct VcpuMsr {
    uint32_t index = 0;
    uint64_t value = 0;
    bool operator==(const VcpuMsr &) const = default;
};

/// Is `length` a context's of such a record?
base::Result<void> checkVcpuContext(RecordType type, uint32_t length, const PvInfo &guest);
std::vector<std::byte> encodeVcpuContext(const VcpuContext &context);
/// `type` is one of the four X86_PV_VCPU records.
base::Result<VcpuContext> decodeVcpuContext(RecordType type, std::span<const std::byte> body, const PvInfo &guest);
std::vector<std::byte> encodeVcpuMsrs(std::span<const VcpuMsr> msrs);
base::Result<std::vector<VcpuMsr>> decodeVcpuMsrs(std::span<const std::byte> context);

// ---- SHARED_INFO: one page ----------------------------------------------------------------
using PageBytes = std::span<const std::byte, base::pageSize>;

std::vector<std::byte> encodeSharedInfo(PageBytes page);
base::Result<PageBytes> decodeSharedInfo(std::span<const std::byte> body);

// ---- X86_CPUID_POLICY, X86_MSR_POLICY -------------------------------------------------------
inline constexpr uint32_t noSubleaf = 0xffffffff;

struct CpuidLeaf {
    uint32_t leaf = 0;
    uint32_t subleaf = noSubleaf;
    uint32_t a = 0, b = 0, c = 0, d = 0;
    bool operator==(const CpuidLeaf &) const = default;
};

struct MsrEntry {
    uint32_t index = 0;
    uint32_t flags = 0;     ///< none is defined
    uint64_t value = 0;
    bool operator==(const MsrEntry &) const = default;
};

std::vector<std::byte> encodeCpuidPolicy(std::span<const CpuidLeaf> leaves);
base::Result<std::vector<CpuidLeaf>> decodeCpuidPolicy(std::span<const std::byte> body);
std::vector<std::byte> encodeMsrPolicy(std::span<const MsrEntry> entries);
base::Result<std::vector<MsrEntry>> decodeMsrPolicy(std::span<const std::byte> body);

// ---- CHECKPOINT_DIRTY_PFN_LIST: u64 pfns[], from the secondary to the primary -------------
std::vector<std::byte> encodeDirtyPfns(std::span<const base::Pfn> pfns);
base::Result<std::vector<base::Pfn>> decodeDirtyPfns(std::span<const std::byte> body);

} // namespace godwit::stream::libxc
