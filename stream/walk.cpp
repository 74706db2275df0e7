// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stream/walk.h"

#include "base/bytes.h"
#include "base/i18n.h"
#include "base/strprintf.h"
#include "stream/skim_source.h"

#include <algorithm>
#include <bit>

namespace godwit::stream {

using namespace base;

static_assert(std::endian::native == std::endian::little, "page words are read as they come");

namespace {

constexpr size_t pageDataHeadSize = 8;
constexpr size_t wordStep = 64 * 1024;
constexpr uint64_t typeMask = ~uint64_t{0} << libxc::pageTypeShift;

// Of all the words of a stream, so that it is not decodePageWord(), which makes results.
libxc::PageType typeOf(uint64_t word)
{
    return static_cast<libxc::PageType>(word >> libxc::pageTypeShift);
}

/// A part of a source: what a visitor may read, or not.
class PartSource final : public Source
{
public:
    PartSource(Source &whole, uint64_t length) : whole_(whole), left_(length) { advance(whole.offset()); }

    Result<void> skip(uint64_t count) override
    {
        if (count > left_)
            return makeError(ErrorCode::BadFormat, tr("ends at byte %llu"), static_cast<unsigned long long>(offset() + left_));
        TRY(whole_.skip(count));
        left_ -= count;
        advance(count);
        return {};
    }

    Result<void> skipRest() { return skip(left_); }

protected:
    Result<size_t> readSome(std::span<const iovec> parts) override
    {
        const auto count = static_cast<size_t>(std::min<uint64_t>(parts[0].iov_len, left_));
        TRY(whole_.read(std::span(static_cast<std::byte *>(parts[0].iov_base), count)));
        left_ -= count;
        return count;
    }

private:
    Source &whole_;
    uint64_t left_;
};

const char *nameOf(Layer layer, uint32_t type)
{
    if (layer == Layer::Libxl) {
        const auto *info = libxl::findRecord(type);
        return info ? info->name : nullptr;
    }
    const auto *info = libxc::findRecord(type);
    return info ? info->name : nullptr;
}

} // namespace

std::string RecordAt::label() const
{
    if (name)
        return name;
    return strprintf(layer == Layer::Libxl ? tr("libxl record 0x%x") : tr("libxc record 0x%x"), type);
}

std::string RecordAt::where() const
{
    return strprintf(tr("%s at byte %llu"), label().c_str(), static_cast<unsigned long long>(offset));
}

Result<void> Visitor::libxlHeader(uint64_t, std::span<const std::byte>) { return {}; }
Result<void> Visitor::imageHeader(uint64_t, std::span<const std::byte>) { return {}; }
Result<void> Visitor::domainHeader(uint64_t, std::span<const std::byte>) { return {}; }
Result<void> Visitor::record(const RecordAt &) { return {}; }
Result<void> Visitor::body(const RecordAt &, Source &) { return {}; }
Result<void> Visitor::pages(const RecordAt &, std::span<const PageAt>) { return {}; }
Result<void> Visitor::pageData(const RecordAt &, std::span<const PageAt>, Source &) { return {}; }

Result<void> Visitor::fault(const RecordAt &, uint64_t, Error error) { return error; }

Walker::Walker(Source &source, Visitor &visitor, StreamKind kind) : source_(source), visitor_(visitor), kind_(kind) {}

std::string Walker::label() const
{
    return part_ ? std::string(part_) : record_.label();
}

std::string Walker::where() const
{
    return part_ ? std::string(part_) : record_.where();
}

Result<void> Walker::run()
{
    // Both kinds begin with eight bytes of identification.
    std::array<std::byte, 8> start;
    part_ = tr("stream header");
    TRY(source_.read(start));
    if (kind_ == StreamKind::Detect) {
        const uint64_t word = TRY(Reader(start, ByteOrder::big).u64());
        if (word != libxl::ident && word != libxc::marker)
            return makeError(ErrorCode::BadFormat,
                             tr("this is no libxl or libxc stream (it may be a legacy stream)"));
        kind_ = word == libxl::ident ? StreamKind::Libxl : StreamKind::Libxc;
    }
    if (kind_ == StreamKind::Libxl)
        return walkLibxl(start);
    TRY(readLibxcHeaders(start));
    // Without libxl around it, the libxc stream goes on after each checkpoint by itself.
    while (!TRY(readLibxcRecords()))
        record_.checkpoint++;
    return {};
}

Result<void> Walker::walkLibxl(std::span<const std::byte> start)
{
    TRY(readLibxlHeader(start));
    bool inCheckpoint = false;
    for (;;) {
        TRY(readRecord(Layer::Libxl));
        if (record_.is(libxl::RecordType::End))
            return {};
        if (record_.is(libxl::RecordType::LibxcContext)) {
            std::array<std::byte, 8> begin;
            part_ = tr("libxc image header");
            TRY(source_.read(begin));
            TRY(readLibxcHeaders(begin));
            inCheckpoint = !TRY(readLibxcRecords());
        } else if (record_.is(libxl::RecordType::CheckpointEnd) && inCheckpoint) {
            record_.checkpoint++;
            TRY(readColoState());
            inCheckpoint = !TRY(readLibxcRecords());
        }
    }
}

Result<void> Walker::readLibxlHeader(std::span<const std::byte> start)
{
    part_ = tr("libxl header");
    const uint64_t at = source_.offset() - start.size();
    std::array<std::byte, libxl::headerSize> raw;
    std::ranges::copy(start, raw.begin());
    TRY(source_.read(std::span(raw).subspan(start.size())));
    Reader in(raw, ByteOrder::big);
    if (TRY(in.u64()) != libxl::ident)
        return makeError(ErrorCode::BadFormat, tr("this is no libxl stream: its identification is wrong"));
    const uint32_t version = TRY(in.u32());
    if (version != libxl::version)
        return makeError(ErrorCode::BadFormat, tr("libxl stream version %u is not known (2 is)"), version);
    if (TRY(in.u32()) & libxl::optionBigEndian)
        return makeError(ErrorCode::Unsupported, tr("the stream is big-endian"));
    return visitor_.libxlHeader(at, raw);
}

Result<void> Walker::readLibxcHeaders(std::span<const std::byte> start)
{
    part_ = tr("libxc image header");
    const uint64_t at = source_.offset() - start.size();
    std::array<std::byte, libxc::imageHeaderSize> image;
    std::ranges::copy(start, image.begin());
    TRY(source_.read(std::span(image).subspan(start.size())));
    Reader in(image, ByteOrder::big);
    if (TRY(in.u64()) != libxc::marker)
        return makeError(ErrorCode::BadFormat, tr("the marker is wrong: this may be a legacy stream"));
    if (TRY(in.u32()) != libxc::ident)
        return makeError(ErrorCode::BadFormat, tr("the identification is wrong"));
    const uint32_t version = TRY(in.u32());
    if (version < libxc::oldestVersion || version > libxc::currentVersion)
        return makeError(ErrorCode::BadFormat, tr("version %u is not known (2 and 3 are)"), version);
    if (TRY(in.u16()) & libxc::optionBigEndian)
        return makeError(ErrorCode::Unsupported, tr("the stream is big-endian"));
    TRY(visitor_.imageHeader(at, image));

    part_ = tr("libxc domain header");
    const uint64_t domainAt = source_.offset();
    std::array<std::byte, libxc::domainHeaderSize> domain;
    TRY(source_.read(domain));
    return visitor_.domainHeader(domainAt, domain);
}

Result<bool> Walker::readLibxcRecords()
{
    do
        TRY(readRecord(Layer::Libxc));
    while (!record_.is(libxc::RecordType::End) && !record_.is(libxc::RecordType::Checkpoint));
    return record_.is(libxc::RecordType::End);
}

Result<void> Walker::readColoState()
{
    // A libxc record of this type is never that short.
    const RecordHeader header = TRY(readHeader());
    if (header.type == static_cast<uint32_t>(libxl::RecordType::CheckpointState) && header.length == 4)
        return readRecord(Layer::Libxl);
    return {};
}

Result<RecordHeader> Walker::readHeader()
{
    if (!next_) {
        part_ = tr("record header");
        next_ = TRY(readRecordHeader(source_));
    }
    return *next_;
}

Result<void> Walker::readRecord(Layer layer)
{
    const RecordHeader header = TRY(readHeader());
    next_.reset();
    part_ = nullptr;
    record_.layer = layer;
    record_.type = header.type;
    record_.length = header.length;
    record_.offset = source_.offset() - recordHeaderSize;
    record_.name = nameOf(layer, header.type);
    TRY(visitor_.record(record_));
    if (layer == Layer::Libxc && header.length > libxc::maxRecordLength)
        TRY(fault(record_.offset, makeError(ErrorCode::BadFormat, tr("is %u bytes long (%u are allowed)"),
                                            header.length, libxc::maxRecordLength)));
    if (record_.is(libxc::RecordType::PageData)) {
        TRY(readPages());
    } else {
        PartSource body(source_, header.length);
        TRY(visitor_.body(record_, body));
        TRY(body.skipRest());
    }
    return readPadding();
}

Result<void> Walker::readPadding()
{
    std::array<std::byte, recordAlignment> raw;
    const auto padding = std::span(raw).first(recordPadding(record_.length));
    const uint64_t at = source_.offset();
    TRY(source_.read(padding));
    if (std::ranges::any_of(padding, [](std::byte byte) { return byte != std::byte{0}; }))
        return fault(at, makeError(ErrorCode::BadFormat, tr("has padding that is not zero")));
    return {};
}

Result<void> Walker::fault(uint64_t offset, Error error)
{
    return visitor_.fault(record_, offset, std::move(error));
}

Result<void> Walker::readPages()
{
    PartSource body(source_, record_.length);
    const auto complaint = TRY(readWords(body));
    if (complaint)
        TRY(fault(complaint->offset, complaint->error));
    else
        TRY(deliverPages(body));
    return body.skipRest();
}

Result<std::optional<Walker::Complaint>> Walker::readWords(Source &body)
{
    const auto complain = [](uint64_t offset, Error error) { return std::optional(Complaint{offset, std::move(error)}); };
    const uint64_t at = body.offset();
    if (record_.length < pageDataHeadSize)
        return complain(record_.offset, makeError(ErrorCode::BadFormat, tr("has the wrong length %u"), record_.length));
    std::array<std::byte, pageDataHeadSize> head;
    TRY(body.read(head));
    Reader in(head);
    const uint32_t count = TRY(in.u32());
    const uint32_t reserved = TRY(in.u32());
    if (count == 0 || uint64_t{count} * sizeof(uint64_t) > record_.length - head.size())
        return complain(at, makeError(ErrorCode::BadFormat, tr("has %u pages in %u bytes"), count, record_.length));
    if (count > libxc::maxPagesPerRecord)
        return complain(at, makeError(ErrorCode::Unsupported, tr("has %u pages (%u are allowed)"), count,
                                      libxc::maxPagesPerRecord));
    if (reserved != 0)
        TRY(fault(at + sizeof count, makeError(ErrorCode::BadFormat, tr("has reserved bits set: 0x%x"), reserved)));
    words_.clear();
    while (words_.size() < count) {
        // In steps, so that a false count costs little memory.
        const size_t had = words_.size();
        words_.resize(had + std::min<size_t>(wordStep, count - had));
        TRY(body.read(std::as_writable_bytes(std::span(words_).subspan(had))));
    }
    return checkWords(body.offset());
}

Result<std::optional<Walker::Complaint>> Walker::checkWords(uint64_t dataOffset)
{
    uint64_t withData = 0;
    const uint64_t begin = dataOffset - words_.size() * sizeof(uint64_t);
    for (size_t i = 0; i < words_.size(); i++) {
        const auto type = typeOf(words_[i]);
        if (words_[i] & ~typeMask & ~libxc::pfnMask || !isValid(type))
            return std::optional(Complaint{begin + i * sizeof(uint64_t), libxc::decodePageWord(words_[i]).error()});
        withData += hasData(type) ? 1 : 0;
    }
    if (dataOffset + withData * pageSize != record_.bodyOffset() + record_.length)
        return std::optional(Complaint{record_.offset, makeError(ErrorCode::BadFormat,
            tr("has %u bytes for %zu pages, %llu of them with data"), record_.length, words_.size(),
            static_cast<unsigned long long>(withData))});
    return std::optional<Complaint>();
}

Result<void> Walker::deliverPages(Source &body)
{
    const uint64_t dataOffset = body.offset();
    uint64_t at = dataOffset;
    for (size_t i = 0; i < words_.size(); i += libxc::pagesPerRecord) {
        fillPiece(i, at, /* onlyWithData= */ false);
        TRY(visitor_.pages(record_, piece_));
    }
    if (!visitor_.wantsPageData())
        return {};
    at = dataOffset;
    for (size_t i = 0; i < words_.size(); i += libxc::pagesPerRecord) {
        fillPiece(i, at, /* onlyWithData= */ true);
        if (piece_.empty())
            continue;
        PartSource data(body, piece_.size() * pageSize);
        TRY(visitor_.pageData(record_, piece_, data));
        TRY(data.skipRest());
    }
    return {};
}

void Walker::fillPiece(size_t first, uint64_t &at, bool onlyWithData)
{
    piece_.clear();
    const size_t end = std::min<size_t>(words_.size(), first + libxc::pagesPerRecord);
    for (size_t i = first; i < end; i++) {
        // Checked by checkWords().
        const libxc::PageWord word{Pfn{words_[i] & libxc::pfnMask}, typeOf(words_[i])};
        if (!onlyWithData || hasData(word.type))
            piece_.push_back({word, at});
        if (hasData(word.type))
            at += pageSize;
    }
}

Result<void> walk(Source &source, Visitor &visitor, StreamKind kind)
{
    Walker walker(source, visitor, kind);
    if (auto done = walker.run(); !done)
        return done.error().in(walker.where());
    return {};
}

Result<void> walk(int fd, Visitor &visitor, StreamKind kind)
{
    SkimSource source(fd);
    TRY(walk(source, visitor, kind));
    return source.settle();
}

} // namespace godwit::stream
