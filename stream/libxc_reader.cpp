// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stream/libxc_reader.h"

#include "base/bytes.h"
#include "base/i18n.h"
#include "base/strprintf.h"

#include <algorithm>
#include <bit>

namespace godwit::stream::libxc {

using namespace base;

static_assert(std::endian::native == std::endian::little, "page words are read as they come");

namespace {

class StreamReader
{
public:
    StreamReader(Source &source, Handler &handler) : source_(source), handler_(handler) {}

    Result<void> run()
    {
        TRY_IN(tr("libxc image header"), readHeaders());
        return readRecords();
    }

    /// Without headers, and with nothing but pages.
    Result<void> runPages()
    {
        version_ = currentVersion;
        domain_.type = DomainType::X86Hvm;
        staticDataEnded_ = true;
        pagesOnly_ = true;
        return readRecords();
    }

private:
    Result<void> readRecords()
    {
        for (;;) {
            const uint64_t at = source_.offset();
            const RecordHeader header = TRY_IN(tr("libxc record"), readRecordHeader(source_));
            const RecordInfo *info = findRecord(header.type);
            TRY_IN(context(info, header, at), handle(info, header));
            if (header.type == static_cast<uint32_t>(RecordType::End))
                return {};
        }
    }

    static std::string context(const RecordInfo *info, RecordHeader header, uint64_t at)
    {
        const auto offset = static_cast<unsigned long long>(at);
        if (info)
            return strprintf(tr("%s at byte %llu"), info->name, offset);
        return strprintf(tr("libxc record 0x%x at byte %llu"), header.type, offset);
    }

    Result<void> readHeaders()
    {
        std::array<std::byte, imageHeaderSize> image;
        TRY(source_.read(image));
        version_ = TRY(decodeImageHeader(image));
        std::array<std::byte, domainHeaderSize> domain;
        TRY(source_.read(domain));
        domain_ = TRY(decodeDomainHeader(domain));
        return handler_.begin(version_, domain_);
    }

    Result<void> handle(const RecordInfo *info, RecordHeader header)
    {
        if (header.length > maxRecordLength)
            return makeError(ErrorCode::BadFormat, tr("is %u bytes long"), header.length);
        if (!info) {
            if (header.type & optionalRecord)
                return skipRecordBody(source_, header.length);
            return makeError(ErrorCode::Unsupported, tr("is unknown and not optional"));
        }
        TRY(check(*info, header.length));
        if (pagesOnly_ && info->type != RecordType::PageData && info->type != RecordType::End)
            return makeError(ErrorCode::BadFormat, tr("does not belong on this connection"));
        switch (info->type) {
        case RecordType::PageData:
            return readPageData(header.length);
        case RecordType::Checkpoint:
        case RecordType::CheckpointDirtyPfnList:
            return makeError(ErrorCode::Unsupported, tr("checkpointed streams cannot be restored"));
        default:
            return readOther(*info, header.length);
        }
    }

    Result<void> check(const RecordInfo &info, uint32_t length) const
    {
        if (length < info.minLength || length > info.maxLength || (length - info.minLength) % info.granule != 0)
            return makeError(ErrorCode::BadFormat, tr("has the wrong length %u"), length);
        if (version_ < info.sinceVersion)
            return makeError(ErrorCode::BadFormat, tr("does not belong into a stream of version %u"), version_);
        const Guests guest = domain_.type == DomainType::X86Hvm ? Guests::Hvm : Guests::Pv;
        if (!(static_cast<uint8_t>(info.guests) & static_cast<uint8_t>(guest)))
            return makeError(ErrorCode::BadFormat, tr("does not belong to this type of guest"));
        return {};
    }

    Result<void> readOther(const RecordInfo &info, uint32_t length)
    {
        const auto body = TRY(readRecordBody(source_, length));
        if (info.type == RecordType::StaticDataEnd)
            staticDataEnded_ = true;
        if (info.type == RecordType::X86TscInfo)
            TRY(decodeTscInfo(body));
        if (info.type == RecordType::HvmParams)
            TRY(decodeHvmParams(body));
        return handler_.record(info.type, body);
    }

    Result<void> readPageData(uint32_t length)
    {
        if (version_ >= 3 && !staticDataEnded_)
            return makeError(ErrorCode::BadFormat, tr("comes before STATIC_DATA_END"));
        std::array<std::byte, 8> head;
        TRY(source_.read(head));
        Reader in(head);
        const uint32_t count = TRY(in.u32());
        TRY(in.zeros(4));
        const uint32_t most = pagesOnly_ ? pagesPerRecord : maxPagesPerRecord;
        if (count == 0 || count > most || uint64_t{count} * 8 + 8 > length)
            return makeError(ErrorCode::BadFormat, tr("has %u pages in %u bytes"), count, length);
        TRY(readWords(count));
        size_t pages = 0;
        for (const PageWord &word : words_)
            pages += hasData(word.type) ? 1 : 0;
        if (uint64_t{length} != 8 + uint64_t{count} * 8 + uint64_t{pages} * pageSize)
            return makeError(ErrorCode::BadFormat, tr("has %u bytes for %u pages, %zu of them with data"),
                             length, count, pages);
        return deliverPages();
    }

    Result<void> readWords(uint32_t count)
    {
        words_.clear();
        std::array<uint64_t, 1024> raw;
        while (words_.size() < count) {
            const auto some = std::span(raw).first(std::min<size_t>(raw.size(), count - words_.size()));
            TRY(source_.read(std::as_writable_bytes(some)));
            for (uint64_t word : some)
                words_.push_back(TRY(decodePageWord(word)));
        }
        return {};
    }

    Result<void> deliverPages()
    {
        for (const PageWord &word : words_)
            if (!hasData(word.type))
                TRY(handler_.pageWithoutData(word));
        std::erase_if(words_, [](const PageWord &word) { return !hasData(word.type); });
        const uint64_t end = source_.offset() + words_.size() * pageSize;
        TRY(handler_.pages(words_, source_));
        if (source_.offset() != end)
            return makeError(ErrorCode::Internal, "the pages' data was not read exactly");
        return {};
    }

    Source &source_;
    Handler &handler_;
    uint32_t version_ = 0;
    DomainHeader domain_;
    bool staticDataEnded_ = false;
    bool pagesOnly_ = false;
    std::vector<PageWord> words_;   // kept from record to record for its memory
};

} // namespace

Result<void> readStream(Source &source, Handler &handler)
{
    return StreamReader(source, handler).run();
}

Result<void> readPages(Source &source, Handler &handler)
{
    return StreamReader(source, handler).runPages();
}

} // namespace godwit::stream::libxc
