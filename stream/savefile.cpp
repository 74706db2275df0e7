// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stream/savefile.h"

#include "base/i18n.h"
#include "base/units.h"
#include "stream/fd_io.h"

#include <algorithm>

namespace godwit::stream {

using namespace base;

namespace {

constexpr std::string_view savefileMagic{"libvirt-xml\n \0 \r", 16};
constexpr uint32_t extensionMagic = 0x54576447;   // "GdWT" in a little-endian file
constexpr size_t spareWords = 6;
constexpr size_t indexWords = 3;
constexpr size_t checksumAt = 28;

/// Images that are not ours, so that the error can say what they are.
struct Stranger {
    std::string_view magic;
    const char *name;
};
constexpr std::array strangers{
    Stranger{"LibvirtQemudSave", "libvirt's QEMU driver"},
    Stranger{"LibvirtQemudPart", "libvirt's QEMU driver, which did not finish it"},
    Stranger{"Xen saved domain", "xl"},
    Stranger{"LinuxGuestRecord", "xend"},
};

/// CRC-32 as in zlib; `before` goes on from the bytes in front of `data`.
uint32_t crc32(std::span<const std::byte> data, uint32_t before = 0)
{
    static const auto table = [] {
        std::array<uint32_t, 256> out{};
        for (uint32_t i = 0; i < out.size(); i++) {
            uint32_t value = i;
            for (int bit = 0; bit < 8; bit++)
                value = value & 1 ? value >> 1 ^ 0xedb88320 : value >> 1;
            out[i] = value;
        }
        return out;
    }();
    uint32_t crc = ~before;
    for (std::byte byte : data)
        crc = crc >> 8 ^ table[(crc ^ static_cast<uint32_t>(byte)) & 0xff];
    return ~crc;
}

Result<void> checkMagic(std::string_view found)
{
    if (found == savefileMagic)
        return {};
    for (const Stranger &stranger : strangers)
        if (found == stranger.magic)
            return makeError(ErrorCode::BadFormat, tr("this image was written by %s"), stranger.name);
    return makeError(ErrorCode::BadFormat, tr("this is no libvirt Xen image: its magic is wrong"));
}

/// The order in which the version makes sense; native when in neither.
Result<ByteOrder> findOrder(std::span<const std::byte> versionWord)
{
    for (ByteOrder order : {ByteOrder::native, ByteOrder::native == ByteOrder::little ? ByteOrder::big
                                                                                      : ByteOrder::little}) {
        Reader in(versionWord, order);
        const uint32_t version = TRY(in.u32());
        if (version == 1 || version == 2)
            return order;
    }
    Reader in(versionWord, ByteOrder::native);
    return makeError(ErrorCode::BadFormat, tr("image version %u is not known (1 and 2 are)"), TRY(in.u32()));
}

/// The header's own share of the checksum: its bytes, the checksum's word as zero.
uint32_t headerChecksum(std::span<const std::byte> header)
{
    constexpr std::array<std::byte, sizeof(uint32_t)> none{};
    uint32_t crc = crc32(header.first(checksumAt));
    crc = crc32(none, crc);
    return crc32(header.subspan(checksumAt + none.size()), crc);
}

Result<SavefileExtension> decodeExtension(Reader &in)
{
    const uint32_t layout = TRY(in.u32());
    const uint32_t state = TRY(in.u32());
    if (layout > static_cast<uint32_t>(SavefileLayout::Aligned))
        return makeError(ErrorCode::BadFormat, tr("image layout %u is not known"), layout);
    if (state > static_cast<uint32_t>(SavedState::Paused))
        return makeError(ErrorCode::BadFormat, tr("saved state %u is not known"), state);
    SavefileExtension out{static_cast<SavefileLayout>(layout), static_cast<SavedState>(state)};
    if (out.layout == SavefileLayout::Aligned) {
        out.index.firstBatch = TRY(in.u32());
        out.index.headSize = TRY(in.u32());
        out.index.batchPages = TRY(in.u32());
        TRY(check(out.index));
    }
    return out;
}

void encodeExtension(Writer &out, const SavefileExtension &extension)
{
    out.u32(static_cast<uint32_t>(extension.layout));
    out.u32(static_cast<uint32_t>(extension.state));
    size_t spare = spareWords;
    if (extension.layout == SavefileLayout::Aligned) {
        out.u32(extension.index.firstBatch);
        out.u32(extension.index.headSize);
        out.u32(extension.index.batchPages);
        spare -= indexWords;
    }
    out.zeros(spare * sizeof(uint32_t));
}

/// Into the header: the checksum of itself, the XML and the NULs behind it.
void seal(std::vector<std::byte> &header, ByteOrder order, std::string_view xml, size_t nuls)
{
    uint32_t crc = crc32(std::as_bytes(std::span(xml)), headerChecksum(header));
    crc = crc32(std::vector<std::byte>(nuls), crc);
    Writer word(order);
    word.u32(crc);
    std::ranges::copy(word.data(), header.begin() + checksumAt);
}

Result<void> checkXml(std::string_view xml, size_t alignment)
{
    if (xml.find('\0') != xml.npos)
        return makeError(ErrorCode::InvalidArgument, tr("the domain XML has a NUL inside"));
    if (xml.size() >= maxXmlLength - alignment)
        return makeError(ErrorCode::InvalidArgument, tr("the domain XML is too long: %zu bytes"), xml.size());
    return {};
}

} // namespace

Result<void> check(const AlignedIndex &index)
{
    const uint64_t leastHead = 16 + uint64_t{index.batchPages} * sizeof(uint64_t);
    if (index.batchPages == 0 || index.batchPages > maxBatchPages)
        return makeError(ErrorCode::BadFormat, tr("the image's index has batches of %u pages (%u are allowed)"),
                         index.batchPages, maxBatchPages);
    if (index.headSize % pageSize != 0 || index.headSize < leastHead || index.headSize > maxBatchHead)
        return makeError(ErrorCode::BadFormat, tr("the image's index has heads of %u bytes for batches of %u pages"),
                         index.headSize, index.batchPages);
    if (index.firstBatch % pageSize != 0 || index.firstBatch == 0 || index.firstBatch > maxFirstBatch)
        return makeError(ErrorCode::BadFormat, tr("the image's index has its first batch at byte %u"), index.firstBatch);
    return {};
}

Result<std::vector<std::byte>> encodeSavefile(const std::string &xml, const SavefileExtension &extension,
                                              size_t alignment)
{
    TRY(checkXml(xml, alignment));
    if (extension.layout == SavefileLayout::Aligned)
        TRY(check(extension.index));
    const size_t unpadded = savefileHeaderSize + xml.size() + 1;
    const size_t nuls = 1 + (unpadded + alignment - 1) / alignment * alignment - unpadded;
    Writer header(ByteOrder::native);
    header.text(savefileMagic);
    header.u32(static_cast<uint32_t>(SavefileVersion::Libxl2));
    header.u32(static_cast<uint32_t>(xml.size() + nuls));
    header.u32(extensionMagic);
    header.zeros(sizeof(uint32_t));
    encodeExtension(header, extension);
    std::vector<std::byte> out = header.take();
    out.reserve(out.size() + xml.size() + nuls);
    seal(out, ByteOrder::native, xml, nuls);
    const auto text = std::as_bytes(std::span(xml));
    out.insert(out.end(), text.begin(), text.end());
    out.resize(out.size() + nuls);
    return out;
}

Result<void> rewriteSavefile(Sink &sink, std::span<const std::byte> header, SavefileVersion version, std::string_view xml)
{
    const SavefileHeader old = TRY(decodeSavefileHeader(header));
    const bool aligned = old.extension && old.extension->layout == SavefileLayout::Aligned;
    const size_t alignment = aligned ? pageSize : 1;
    TRY(checkXml(xml, alignment));
    // What is aligned stays so: the stream moves by whole pages.
    const size_t length = xml.size() + 1;
    const size_t nuls = 1 + (old.xmlLength + alignment - length % alignment) % alignment;
    Writer out(old.order);
    out.bytes(header.first(savefileMagic.size()));
    out.u32(static_cast<uint32_t>(version));
    out.u32(static_cast<uint32_t>(xml.size() + nuls));
    out.bytes(header.first(savefileHeaderSize).subspan(out.size()));
    std::vector<std::byte> head = out.take();
    if (old.extension) {
        std::ranges::fill(std::span(head).subspan(checksumAt, sizeof(uint32_t)), std::byte{0});
        seal(head, old.order, xml, nuls);
    }
    const std::vector<std::byte> end(nuls);
    iovec parts[] = {part(head.data(), head.size()), part(xml.data(), xml.size()), part(end.data(), end.size())};
    return sink.write(parts);
}

Result<SavefileHeader> decodeSavefileHeader(std::span<const std::byte> header)
{
    if (header.size() < savefileHeaderSize)
        return makeError(ErrorCode::BadFormat, tr("the image ends inside its header, at byte %zu"), header.size());
    header = header.first(savefileHeaderSize);
    TRY(checkMagic(asText(header.first(savefileMagic.size()))));
    SavefileHeader out;
    out.order = TRY(findOrder(header.subspan(savefileMagic.size(), sizeof(uint32_t))));
    Reader in(header.subspan(savefileMagic.size()), out.order);
    out.version = static_cast<SavefileVersion>(TRY(in.u32()));
    out.xmlLength = TRY(in.u32());
    if (out.xmlLength == 0)
        return makeError(ErrorCode::BadFormat, tr("the image has no domain XML"));
    if (out.xmlLength > maxXmlLength)
        return makeError(ErrorCode::BadFormat, tr("the image claims %u bytes of domain XML (%u are allowed)"),
                         out.xmlLength, maxXmlLength);
    if (TRY(in.u32()) != extensionMagic)
        return out;
    out.checksum = TRY(in.u32());
    out.headerChecksum = headerChecksum(header);
    out.extension = TRY(decodeExtension(in));
    if (out.extension->layout == SavefileLayout::Aligned && (savefileHeaderSize + out.xmlLength) % pageSize != 0)
        return makeError(ErrorCode::BadFormat, tr("the image calls itself aligned and has %u bytes of domain XML"),
                         out.xmlLength);
    return out;
}

Result<std::string_view> findSavefileXml(const SavefileHeader &header, std::span<const std::byte> xml)
{
    if (xml.size() != header.xmlLength)
        return makeError(ErrorCode::BadFormat, tr("the image ends inside its domain XML, after %zu of %u bytes"),
                         xml.size(), header.xmlLength);
    const std::string_view text = asText(xml);
    const size_t end = text.find('\0');
    if (end == text.npos)
        return makeError(ErrorCode::BadFormat, tr("the image's domain XML has no NUL at its end"));
    if (text.find_first_not_of('\0', end) != text.npos)
        return makeError(ErrorCode::BadFormat, tr("the image's domain XML goes on after its NUL"));
    if (header.extension && crc32(xml, header.headerChecksum) != header.checksum)
        return makeError(ErrorCode::BadFormat, tr("the image's header or domain XML is damaged: the checksum is wrong"));
    return text.substr(0, end);
}

Result<std::string> decodeSavefileXml(const SavefileHeader &header, std::span<const std::byte> xml)
{
    return std::string(TRY(findSavefileXml(header, xml)));
}

Result<SavefileHeader> readSavefileHead(Source &source, std::vector<std::byte> &head)
{
    TRY(source.appendUpTo(head, savefileHeaderSize - head.size()));
    const SavefileHeader header = TRY(decodeSavefileHeader(head));
    TRY(source.appendUpTo(head, header.xmlLength));
    return header;
}

Result<Savefile> readSavefile(int fd)
{
    FdSource source(fd);
    std::vector<std::byte> head;
    Savefile out;
    out.header = TRY(readSavefileHead(source, head));
    out.xml = TRY(decodeSavefileXml(out.header, std::span(head).subspan(savefileHeaderSize)));
    out.streamOffset = source.offset();
    return out;
}

} // namespace godwit::stream
