// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// What `xl save` writes in front of a stream (docs/image-xl.md): 48 bytes,
// optional data with the domain's configuration, then a stream.

#include "base/bytes.h"
#include "stream/fd_io.h"

#include <optional>
#include <string>

namespace godwit::stream {

inline constexpr size_t xlSavefileHeaderSize = 48;
inline constexpr uint32_t maxXlData = 4 * 1024 * 1024;

/// Flags that a reader must understand.
inline constexpr uint32_t xlFlagJson = 1;       ///< the configuration is JSON, not xl's text
inline constexpr uint32_t xlFlagStreamV2 = 2;   ///< a libxl stream follows, not a legacy one

struct XlSavefileHeader {
    base::ByteOrder order = base::ByteOrder::native;
    uint32_t mandatoryFlags = xlFlagJson | xlFlagStreamV2;
    uint32_t optionalFlags = 0;
    uint32_t dataLength = 0;    ///< of the optional data
    bool operator==(const XlSavefileHeader &) const = default;

    bool isLegacy() const { return !(mandatoryFlags & xlFlagStreamV2); }
};

/// An image's head: everything before the stream.
struct XlSavefile {
    XlSavefileHeader header;
    std::optional<std::string> config;   ///< JSON or xl's text
    uint64_t streamOffset = 0;           ///< from where the header began
};

bool isXlSavefile(std::span<const std::byte> start);

/// Header and optional data; the header's length of it is set.
base::Result<std::vector<std::byte>> encodeXlSavefile(const XlSavefile &savefile);
base::Result<XlSavefileHeader> decodeXlSavefileHeader(std::span<const std::byte> header);
/// The configuration in the optional data, if there is any; more behind it is allowed.
base::Result<std::optional<std::string_view>> findXlSavefileConfig(const XlSavefileHeader &header,
                                                                   std::span<const std::byte> data);
/// The same as a copy.
base::Result<std::optional<std::string>> decodeXlSavefileData(const XlSavefileHeader &header,
                                                              std::span<const std::byte> data);

/// Read header and optional data to the end of `head`, which may hold their first bytes. The data may
/// be cut off: findXlSavefileConfig() tells, of all of `head` behind the header.
base::Result<XlSavefileHeader> readXlSavefileHead(Source &source, std::vector<std::byte> &head);
/// Read the head of an image; `fd` then stands at the stream's first byte.
base::Result<XlSavefile> readXlSavefile(int fd);

} // namespace godwit::stream
