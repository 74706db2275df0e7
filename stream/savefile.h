// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// The header of a libvirt Xen image (docs/image-libvirt.md): 64 bytes, the domain
// XML with its NUL, then a stream. Pure functions, and one reader for an fd.

#include "base/bytes.h"
#include "stream/fd_io.h"

#include <array>
#include <optional>
#include <string>

namespace godwit::stream {

inline constexpr size_t savefileHeaderSize = 64;
/// Of the longest text that libvirt's protocol carries: no libvirtd gives or takes a longer XML.
inline constexpr uint32_t maxXmlLength = 4 * 1024 * 1024;

enum class SavefileVersion : uint32_t {
    Legacy = 1,   ///< a stream from before Xen 4.6 follows
    Libxl2 = 2,   ///< a libxl stream, version 2, follows
};

/// How page data lies in the stream.
enum class SavefileLayout : uint32_t {
    Plain = 0,    ///< in the order it was written
    Aligned = 1,  ///< every page at a computable place
};

enum class SavedState : uint32_t { Unknown = 0, Running = 1, Paused = 2 };

/// Where the pages of an aligned image lie (docs/image-libvirt.md, "Aligned image"): the first batch
/// stands `firstBatch` bytes from the stream's first one; each batch is `headSize` bytes of
/// record header and page words, then the data of up to `batchPages` pages.
struct AlignedIndex {
    uint32_t firstBatch = 4096;
    uint32_t headSize = 12288;
    uint32_t batchPages = 1024;
    bool operator==(const AlignedIndex &) const = default;
};

inline constexpr uint32_t maxFirstBatch = 4 * 1024 * 1024;
inline constexpr uint32_t maxBatchHead = 256 * 1024;
inline constexpr uint32_t maxBatchPages = 16384;

/// An index is anybody's claim: hold it against its limits.
base::Result<void> check(const AlignedIndex &index);

/// What our own images say in the words that stock readers ignore.
struct SavefileExtension {
    SavefileLayout layout = SavefileLayout::Plain;
    SavedState state = SavedState::Unknown;
    AlignedIndex index = {};   ///< of an aligned image; else as it is by default
    bool operator==(const SavefileExtension &) const = default;
};

/// The 64 bytes, without the XML.
struct SavefileHeader {
    SavefileVersion version = SavefileVersion::Libxl2;
    base::ByteOrder order = base::ByteOrder::native;
    uint32_t xmlLength = 0;      ///< with its NUL, and with NULs that pad it
    std::optional<SavefileExtension> extension;
    uint32_t checksum = 0;         ///< with an extension: CRC-32 of header and XML
    uint32_t headerChecksum = 0;   ///< with an extension: the header's share of it
    bool operator==(const SavefileHeader &) const = default;
};

/// An image's head: everything before the stream.
struct Savefile {
    SavefileHeader header;
    std::string xml;
    uint64_t streamOffset = 0;   ///< from where the header began
};

/// Header, XML and NUL, padded with NULs so that what follows is aligned to `alignment`
/// bytes (a power of two; 1: not at all). Fails when the XML is too long or has a NUL.
base::Result<std::vector<std::byte>> encodeSavefile(const std::string &xml, const SavefileExtension &extension,
                                                    size_t alignment = 1);

/// The same to `sink`, for an image whose first savefileHeaderSize bytes are `header`: all else in
/// them stays as it is, byte order and stock words included, and a checksum is renewed.
base::Result<void> rewriteSavefile(Sink &sink, std::span<const std::byte> header, SavefileVersion version,
                                   std::string_view xml);
base::Result<SavefileHeader> decodeSavefileHeader(std::span<const std::byte> header);

/// The text in the XML bytes that `header` announced: checks length, NUL and checksum.
base::Result<std::string_view> findSavefileXml(const SavefileHeader &header, std::span<const std::byte> xml);
/// The same as a copy.
base::Result<std::string> decodeSavefileXml(const SavefileHeader &header, std::span<const std::byte> xml);

/// Read header and XML to the end of `head`, which may hold their first bytes. The XML may be cut
/// off: findSavefileXml() tells, of all of `head` behind the header.
base::Result<SavefileHeader> readSavefileHead(Source &source, std::vector<std::byte> &head);
/// Read the head of an image; `fd` then stands at the stream's first byte.
base::Result<Savefile> readSavefile(int fd);

} // namespace godwit::stream
