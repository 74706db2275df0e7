// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// The libxl migration stream, version 2: numbers and names as in Xen's
// docs/specs/libxl-migration-stream.pandoc; docs/stream-libxl.md has the same table.

#include "base/result.h"
#include "stream/record.h"

#include <array>
#include <span>
#include <string>
#include <vector>

namespace godwit::stream::libxl {

// ---- header: 16 bytes, big-endian ---------------------------------------------------
inline constexpr size_t headerSize = 16;
inline constexpr uint64_t ident = 0x4c6962786c466d74;   // "LibxlFmt"
inline constexpr uint32_t version = 2;
inline constexpr uint32_t optionBigEndian = 1;
inline constexpr uint32_t optionLegacy = 2;             // came from the converter

struct Header {
    bool legacy = false;
    bool operator==(const Header &) const = default;
};

// ---- records ------------------------------------------------------------------------
enum class RecordType : uint32_t {
    End = 0,
    LibxcContext = 1,
    EmulatorXenstoreData = 2,
    EmulatorContext = 3,
    CheckpointEnd = 4,
    CheckpointState = 5,
};

struct RecordInfo {
    RecordType type;
    const char *name;
    uint32_t minLength;
    uint32_t maxLength;   ///< ours: libxl itself has no limit
};

inline constexpr size_t emulatorHeaderSize = 8;
inline constexpr uint32_t maxXenstoreData = 1024 * 1024;
inline constexpr uint32_t maxDeviceState = 256 * 1024 * 1024;

inline constexpr auto records = std::to_array<RecordInfo>({
    {RecordType::End,                  "END",                    0, 0},
    {RecordType::LibxcContext,         "LIBXC_CONTEXT",          0, 0},
    {RecordType::EmulatorXenstoreData, "EMULATOR_XENSTORE_DATA", 8, maxXenstoreData},
    {RecordType::EmulatorContext,      "EMULATOR_CONTEXT",       8, emulatorHeaderSize + maxDeviceState},
    {RecordType::CheckpointEnd,        "CHECKPOINT_END",         0, 0},
    {RecordType::CheckpointState,      "CHECKPOINT_STATE",       4, 4},
});

const RecordInfo *findRecord(uint32_t type);

enum class Emulator : uint32_t { Unknown = 0, QemuTraditional = 1, QemuUpstream = 2 };

/// What stands in front of an emulator's data.
struct EmulatorHeader {
    Emulator emulator = Emulator::QemuUpstream;
    uint32_t index = 0;
    bool operator==(const EmulatorHeader &) const = default;
};

// ---- EMULATOR_XENSTORE_DATA, behind the emulator header: key NUL value NUL ... ---------
inline constexpr size_t maxXenstorePairs = 16 * 1024;

/// Relative to the emulator's place in xenstore.
struct XenstorePair {
    std::string key;
    std::string value;
    bool operator==(const XenstorePair &) const = default;
};

// ---- CHECKPOINT_STATE: COLO's conversation ---------------------------------------------
enum class CheckpointState : uint32_t {
    New = 0,           ///< primary to secondary: begin a checkpoint
    Suspended = 1,     ///< secondary to primary, and so are the others
    Ready = 2,
    Resumed = 3,
};

std::vector<std::byte> encodeHeader(const Header &header);
base::Result<Header> decodeHeader(std::span<const std::byte> raw);
std::vector<std::byte> encodeEmulatorHeader(const EmulatorHeader &header);
base::Result<EmulatorHeader> decodeEmulatorHeader(std::span<const std::byte> raw);
/// Fails when a key is none of xenstore's, or when a value has a NUL.
base::Result<std::vector<std::byte>> encodeXenstorePairs(std::span<const XenstorePair> pairs);
base::Result<std::vector<XenstorePair>> decodeXenstorePairs(std::span<const std::byte> data);
std::vector<std::byte> encodeCheckpointState(CheckpointState state);
base::Result<CheckpointState> decodeCheckpointState(std::span<const std::byte> body);

} // namespace godwit::stream::libxl
