// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// The legacy (version 1) stream, which Xen wrote before release 4.6: numbers and names as
// in Xen's tools/python/xen/migration/legacy.py; docs/stream-legacy.md has the same tables.

#include "base/result.h"
#include "base/units.h"
#include "stream/libxc_format.h"

#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace godwit::stream::legacy {

using libxc::DomainType;
using libxc::Guests;

// ---- head -----------------------------------------------------------------------------
/// The sender's `unsigned long`, in bytes: that of its toolstack, not of the guest.
enum class Width : uint8_t { Invalid = 0, Bits32 = 4, Bits64 = 8 };

constexpr size_t bytesOf(Width width)
{
    return static_cast<size_t>(width);
}

inline constexpr uint64_t maxPages = uint64_t{1} << 28;   // what a page word can name: 1 TiB

/// What a PV stream's extended info says.
struct PvInfo {
    uint8_t width = 0;              ///< of the guest: 4 or 8 bytes
    uint8_t levels = 0;             ///< of its page tables: 3 or 4
    uint32_t contextLength = 0;     ///< of each processor's basic context
    bool extended = false;          ///< each processor has an extended context
    uint32_t xsaveLength = 0;       ///< of each processor's XSAVE area with its head, 0: none
    bool operator==(const PvInfo &) const = default;
};

inline constexpr size_t sniffLength = 8;
inline constexpr uint32_t extendedInfoMark = 0xffffffff;
inline constexpr uint32_t maxExtendedInfo = 64 * 1024;
inline constexpr uint32_t context64Length = 0x1430;
inline constexpr uint32_t context32Length = 0xaf0;
inline constexpr uint32_t extendedContextLength = 128;
inline constexpr uint32_t xsaveHeadLength = 16;                 // u64 mask, u64 size
inline constexpr uint32_t maxXsaveLength = 1024 * 1024;

/// The width that the first sniffLength bytes tell, and what they hold besides.
struct Sniffed {
    Width width = Width::Invalid;
    uint64_t p2mSize = 0;
    std::optional<uint32_t> next;   ///< 32 bits: what follows p2m_size
};
base::Result<Sniffed> sniff(std::span<const std::byte, sniffLength> raw);

// ---- chunks ---------------------------------------------------------------------------
inline constexpr int32_t maxBatch = 1024;
inline constexpr int32_t maxVcpuId = 4095;
inline constexpr size_t vcpuWords = (maxVcpuId + 1) / 64;

enum class Chunk : int32_t {
    End = 0,
    EnableVerifyMode = -1,
    VcpuInfo = -2,
    HvmIdentPt = -3,
    HvmVm86Tss = -4,
    Tmem = -5,
    TmemExtra = -6,
    TscInfo = -7,
    HvmConsolePfn = -8,
    LastCheckpoint = -9,
    HvmAcpiIoportsLocation = -10,
    HvmViridian = -11,
    CompressedData = -12,
    EnableCompression = -13,
    HvmGenerationIdAddr = -14,
    HvmPagingRingPfn = -15,
    HvmMonitorRingPfn = -16,
    HvmSharingRingPfn = -17,
    Toolstack = -18,
    HvmIoreqServerPfn = -19,
    HvmNrIoreqServerPages = -20,
};

/// What follows a chunk's id.
enum class Body : uint8_t { None, Param, Vcpus, Tsc, Toolstack, Compressed, Unsupported };

struct ChunkInfo {
    Chunk id;
    const char *name;
    Body body;
    uint32_t hvmParam;   ///< Body::Param: the HVM parameter it sets
};

inline constexpr auto chunks = std::to_array<ChunkInfo>({
    {Chunk::End,                    "END",                       Body::None,        0},
    {Chunk::EnableVerifyMode,       "ENABLE_VERIFY_MODE",        Body::None,        0},
    {Chunk::VcpuInfo,               "VCPU_INFO",                 Body::Vcpus,       0},
    {Chunk::HvmIdentPt,             "HVM_IDENT_PT",              Body::Param,       12},
    {Chunk::HvmVm86Tss,             "HVM_VM86_TSS",              Body::Param,       15},
    {Chunk::Tmem,                   "TMEM",                      Body::Unsupported, 0},
    {Chunk::TmemExtra,              "TMEM_EXTRA",                Body::Unsupported, 0},
    {Chunk::TscInfo,                "TSC_INFO",                  Body::Tsc,         0},
    {Chunk::HvmConsolePfn,          "HVM_CONSOLE_PFN",           Body::Param,       17},
    {Chunk::LastCheckpoint,         "LAST_CHECKPOINT",           Body::None,        0},
    {Chunk::HvmAcpiIoportsLocation, "HVM_ACPI_IOPORTS_LOCATION", Body::Param,       19},
    {Chunk::HvmViridian,            "HVM_VIRIDIAN",              Body::Param,       9},
    {Chunk::CompressedData,         "COMPRESSED_DATA",           Body::Compressed,  0},
    {Chunk::EnableCompression,      "ENABLE_COMPRESSION",        Body::None,        0},
    {Chunk::HvmGenerationIdAddr,    "HVM_GENERATION_ID_ADDR",    Body::Param,       34},
    {Chunk::HvmPagingRingPfn,       "HVM_PAGING_RING_PFN",       Body::Param,       27},
    {Chunk::HvmMonitorRingPfn,      "HVM_MONITOR_RING_PFN",      Body::Param,       28},
    {Chunk::HvmSharingRingPfn,      "HVM_SHARING_RING_PFN",      Body::Param,       29},
    {Chunk::Toolstack,              "TOOLSTACK",                 Body::Toolstack,   0},
    {Chunk::HvmIoreqServerPfn,      "HVM_IOREQ_SERVER_PFN",      Body::Param,       32},
    {Chunk::HvmNrIoreqServerPages,  "HVM_NR_IOREQ_SERVER_PAGES", Body::Param,       33},
});

/// The table's row, or nullptr.
const ChunkInfo *findChunk(int32_t id);

/// A word that stands for a page the sender could not map: there are many, and they say nothing.
inline constexpr uint64_t voidPageWord = 0xf0000000;

/// Bits 31-28 type, 27-0 pfn, on either width.
base::Result<libxc::PageWord> decodePageWord(uint64_t word);

inline constexpr size_t paramLength = 12;   // u32 padding, u64 value
uint64_t decodeParam(std::span<const std::byte, paramLength> raw);
inline constexpr size_t tscLength = 20;     // u32 mode, u64 ns, u32 kHz, u32 incarnation
libxc::TscInfo decodeTscInfo(std::span<const std::byte, tscLength> raw);

// ---- toolstack record: what libxl tells of QEMU's memory -------------------------------
inline constexpr uint32_t maxToolstack = 1024 * 1024;

struct Physmap {
    uint64_t physical = 0;
    uint64_t start = 0;
    uint64_t size = 0;
    std::string name;
    bool operator==(const Physmap &) const = default;
};

base::Result<std::vector<Physmap>> decodeToolstack(std::span<const std::byte> body, Width width);
/// The keys and values that libxl keeps it as since, each ended by a NUL.
std::vector<std::byte> encodeXenstoreData(std::span<const Physmap> physmaps);

// ---- tail -----------------------------------------------------------------------------
inline constexpr uint32_t maxUnmapped = 1u << 28;
inline constexpr size_t signatureLength = 21;

enum class DeviceModel : uint8_t { UntilTheEnd, Version2, Remus };

struct DeviceModelInfo {
    DeviceModel kind;
    std::string_view signature;
    bool hasLength;      ///< u32 length, then the state; or the state until the stream's end
};

inline constexpr auto deviceModels = std::to_array<DeviceModelInfo>({
    {DeviceModel::UntilTheEnd, "QemuDeviceModelRecord", false},
    {DeviceModel::Version2,    "DeviceModelRecord0002", true},
    {DeviceModel::Remus,       "RemusDeviceModelState", true},
});

base::Result<DeviceModelInfo> findDeviceModel(std::string_view signature);

} // namespace godwit::stream::legacy
