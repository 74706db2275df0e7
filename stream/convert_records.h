// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// What parts of a legacy stream are called in a libxc stream.

#include "stream/legacy_reader.h"

namespace godwit::stream {

/// Converted streams say that Xen 0.1 wrote them: the converter's version.
inline constexpr uint32_t convertedMajor = 0;
inline constexpr uint32_t convertedMinor = 1;

libxc::RecordType recordOf(legacy::Blob kind);
/// What stands in such a record before the blob: of a processor's, its number.
std::vector<std::byte> encodeBlobHead(legacy::Blob kind, uint32_t vcpu);
std::vector<std::byte> encodePvInfo(const legacy::PvInfo &pv);
/// What stands in X86_PV_P2M_FRAMES before the frames of pages 0 to `pages` - 1.
std::vector<std::byte> encodeP2mRange(uint64_t pages);

/// Fails unless these bytes, a state's first that had no length of its own, are of QEMU's file.
base::Result<void> checkQemuState(std::span<const std::byte> begin);

} // namespace godwit::stream
