// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// What stands around the libxl stream on a data connection (docs/channel.md). Codecs only.

#include "base/bytes.h"
#include "stream/stripes.h"

#include <array>
#include <string>

namespace godwit::channel {

inline constexpr size_t secretSize = 32;
using Secret = std::array<std::byte, secretSize>;

/// From 64 hexadecimal digits.
base::Result<Secret> parseSecret(const std::string &hex);

/// In a time that says nothing about where they differ.
bool equal(const Secret &one, const Secret &other);

/// First on every connection, source to destination: 64 bytes, big-endian.
inline constexpr size_t prefaceSize = 64;
inline constexpr uint64_t prefaceMagic = 0x476f647769744368;   // "GodwitCh"
inline constexpr uint32_t currentVersion = 1;

struct Preface {
    uint32_t version = currentVersion;
    uint32_t flags = 0;          ///< none is defined in version 1
    uint32_t index = 0;          ///< this connection's number among
    uint32_t count = 1;          ///< those of the migration, at most stream::maxConnections
    Secret secret{};
    bool operator==(const Preface &) const = default;
};

std::vector<std::byte> encodePreface(const Preface &preface);
/// Checks everything but the secret.
base::Result<Preface> decodePreface(std::span<const std::byte> raw);

/// The destination's answer to a preface it accepts: one byte. To any other it closes.
inline constexpr std::byte accepted{1};

/// Last on the first connection, destination to source.
inline constexpr size_t outcomeHeaderSize = 8;
inline constexpr uint32_t maxOutcomeText = 64 * 1024;

enum class OutcomeStatus : uint32_t { Invalid = 0, Restored = 1, Failed = 2 };

struct OutcomeHeader {
    OutcomeStatus status = OutcomeStatus::Restored;
    uint32_t textLength = 0;     ///< of the cause, when failed
    bool operator==(const OutcomeHeader &) const = default;
};

/// Longer text is cut at the limit.
std::vector<std::byte> encodeOutcome(OutcomeStatus status, const std::string &text);
base::Result<OutcomeHeader> decodeOutcomeHeader(std::span<const std::byte> raw);

} // namespace godwit::channel
