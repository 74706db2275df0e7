// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// A walk over a stream of version 2 or 3: every structural element in its order, with its
// place, without judging contents. Whoever restores uses the readers (libxc_reader.h,
// libxl_stream.h); whoever looks (verifier, tools) walks.
//
// A libxl stream holds one libxc stream. The libxc stream's CHECKPOINT hands over to libxl's
// records, and their CHECKPOINT_END hands back; COLO puts a CHECKPOINT_STATE in between. END
// hands over for good. A bare libxc stream goes on after CHECKPOINT by itself.

#include "stream/libxc_format.h"
#include "stream/libxl_format.h"

#include <optional>
#include <string>

namespace godwit::stream {

enum class Layer : uint8_t { Libxl, Libxc };

/// A record and its place. Offsets count from where the source's do.
struct RecordAt {
    Layer layer = Layer::Libxl;
    uint32_t type = 0;
    uint32_t length = 0;            ///< of the body, without padding
    uint64_t offset = 0;            ///< of the record's header
    uint32_t checkpoint = 0;        ///< how many checkpoints are complete before it
    const char *name = nullptr;     ///< as the specification spells it; nullptr: unknown

    uint64_t bodyOffset() const { return offset + recordHeaderSize; }
    uint64_t endOffset() const { return bodyOffset() + length + recordPadding(length); }
    bool is(libxc::RecordType wanted) const
    {
        return layer == Layer::Libxc && type == static_cast<uint32_t>(wanted);
    }
    bool is(libxl::RecordType wanted) const
    {
        return layer == Layer::Libxl && type == static_cast<uint32_t>(wanted);
    }
    /// "PAGE_DATA", or "libxc record 0x99" when it is unknown; translated, for messages.
    std::string label() const;
    /// "PAGE_DATA at byte 4096".
    std::string where() const;
};

/// A page of a PAGE_DATA record.
struct PageAt {
    libxc::PageWord word;
    uint64_t offset = 0;    ///< of its data; of a page without data: where it would be
};

/// Who is told of the elements. Called in the stream's order, on the walker's thread; an
/// error ends the walk. Where a Source is given, as much of it as is wanted may be read, or
/// skipped with skip(); what is left is skipped for the visitor, without being read where
/// the stream is a file. Reading past its end is an error. By default nothing is wanted.
class Visitor
{
public:
    virtual ~Visitor() = default;

    /// The raw headers. Their magic, version and byte order are right, the rest is not checked:
    /// libxl::decodeHeader(), libxc::decodeImageHeader() and decodeDomainHeader() do that.
    virtual base::Result<void> libxlHeader(uint64_t offset, std::span<const std::byte> raw);
    virtual base::Result<void> imageHeader(uint64_t offset, std::span<const std::byte> raw);
    virtual base::Result<void> domainHeader(uint64_t offset, std::span<const std::byte> raw);

    /// Every record, known or not, before anything of its body.
    virtual base::Result<void> record(const RecordAt &record);
    /// The body of every record but PAGE_DATA, `record.length` bytes, which may be 0.
    virtual base::Result<void> body(const RecordAt &record, Source &body);
    /// The words of a PAGE_DATA record, at most libxc::pagesPerRecord at once: records that
    /// are larger than Xen's come in pieces.
    virtual base::Result<void> pages(const RecordAt &record, std::span<const PageAt> pages);
    /// After all words of the record, piece by piece again: the data of those pages that
    /// have some, and only they are in `pages`: pageSize bytes each. Who wants none is not asked.
    virtual base::Result<void> pageData(const RecordAt &record, std::span<const PageAt> pages, Source &data);
    virtual bool wantsPageData() const { return true; }

    /// A record breaks the format, at `offset`, but the walk can go on behind it: padding that
    /// is not zero, a length above Xen's limit, a PAGE_DATA whose words are wrong or do not
    /// agree with its length (its pages() are left out then). The default is `error`, which
    /// ends the walk; its place is known as for any other error.
    virtual base::Result<void> fault(const RecordAt &record, uint64_t offset, base::Error error);
};

enum class StreamKind : uint8_t { Detect, Libxl, Libxc };

/// One walk. Memory stays below 16 MiB whatever comes.
class Walker
{
public:
    Walker(Source &source, Visitor &visitor, StreamKind kind = StreamKind::Detect);

    /// To the stream's END; what follows is left alone. Errors are without the place.
    base::Result<void> run();

    /// What run() found the stream to be.
    StreamKind kind() const { return kind_; }
    /// What was read last, without and with its place, for the message of an error.
    std::string label() const;
    std::string where() const;
    /// The last record that began; its offset is 0 when none did.
    const RecordAt &lastRecord() const { return record_; }

private:
    struct Complaint {
        uint64_t offset;
        base::Error error;
    };

    base::Result<void> walkLibxl(std::span<const std::byte> start);
    base::Result<void> readLibxlHeader(std::span<const std::byte> start);
    base::Result<void> readLibxcHeaders(std::span<const std::byte> start);
    /// Up to the libxc stream's END (true) or next CHECKPOINT (false).
    base::Result<bool> readLibxcRecords();
    base::Result<void> readColoState();
    base::Result<RecordHeader> readHeader();
    base::Result<void> readRecord(Layer layer);
    base::Result<void> readPadding();
    base::Result<void> fault(uint64_t offset, base::Error error);
    base::Result<void> readPages();
    base::Result<std::optional<Complaint>> readWords(Source &body);
    base::Result<std::optional<Complaint>> checkWords(uint64_t dataOffset);
    base::Result<void> deliverPages(Source &body);
    void fillPiece(size_t first, uint64_t &at, bool onlyWithData);

    Source &source_;
    Visitor &visitor_;
    StreamKind kind_;
    RecordAt record_;
    std::optional<RecordHeader> next_;  ///< read, but not walked over yet
    const char *part_ = nullptr;        ///< a header that is being read; nullptr: record_
    std::vector<uint64_t> words_;       ///< of a PAGE_DATA
    std::vector<PageAt> piece_;         ///< of words_
};

/// Walk over the stream that begins where the source stands. Errors say where they happened.
base::Result<void> walk(Source &source, Visitor &visitor, StreamKind kind = StreamKind::Detect);
/// The same on an fd (borrowed), which then stands behind the stream: see SkimSource.
base::Result<void> walk(int fd, Visitor &visitor, StreamKind kind = StreamKind::Detect);

} // namespace godwit::stream
