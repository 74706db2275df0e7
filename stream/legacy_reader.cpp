// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stream/legacy_reader.h"

#include "base/bytes.h"
#include "base/i18n.h"
#include "base/strprintf.h"
#include "stream/legacy_compression.h"
#include "stream/libxl_format.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace godwit::stream::legacy {

using namespace base;

static_assert(std::endian::native == std::endian::little, "page words are read as they come");

namespace {

// How many pages are taken out of compressed data at once, and may wait for it.
constexpr size_t inflatedPages = 256;
constexpr size_t maxPending = 64 * 1024;

/// Pages that are in memory already.
class BufferSource : public Source
{
public:
    explicit BufferSource(std::span<const std::byte> data) : data_(data) {}

protected:
    Result<size_t> readSome(std::span<const iovec> parts) override
    {
        const size_t count = std::min(parts[0].iov_len, data_.size());
        if (count > 0)
            std::memcpy(parts[0].iov_base, data_.data(), count);
        data_ = data_.subspan(count);
        return count;
    }

private:
    std::span<const std::byte> data_;
};

size_t countData(std::span<const libxc::PageWord> words)
{
    return static_cast<size_t>(std::ranges::count_if(words, [](auto word) { return hasData(word.type); }));
}

std::string at(const char *name, uint64_t offset)
{
    return strprintf(tr("%s at byte %llu"), name, static_cast<unsigned long long>(offset));
}

class StreamReader
{
public:
    StreamReader(Source &source, Handler &handler, const ReadOptions &options)
        : source_(source), handler_(handler), options_(options), store_(options.temporaryFolder)
    {
    }

    Result<void> run()
    {
        TRY_IN(tr("legacy head"), readHead());
        TRY(handler_.begin(head_));
        if (head_.guest == DomainType::X86Pv)
            TRY(within("P2M frames", [this] { return readP2mFrames(); }));
        for (unsigned whole = 0;; whole++) {
            const auto image = readImage();
            if (!image && whole > 0)
                return image.error().in(strprintf(tr("after %u whole images, none marked as the last"), whole));
            if (!image)
                return image.error();
            if (*image)
                return {};
        }
    }

private:
    // ---- small things --------------------------------------------------------------
    template <typename Number>
    Result<Number> number()
    {
        Number value;
        TRY(source_.read(std::as_writable_bytes(std::span(&value, 1))));
        return value;
    }

    /// The sender's unsigned long.
    Result<uint64_t> word()
    {
        if (head_.width == Width::Bits64)
            return number<uint64_t>();
        return uint64_t{TRY(number<uint32_t>())};
    }

    /// `count` of them, into raw_.
    Result<void> readWords(size_t count)
    {
        raw_.clear();
        const size_t width = bytesOf(head_.width);
        std::array<std::byte, 8192> buffer;
        for (size_t left = count; left > 0;) {
            const auto some = std::span(buffer).first(std::min(left * width, buffer.size()));
            TRY(source_.read(some));
            for (size_t i = 0; i < some.size(); i += width) {
                uint64_t value = 0;
                std::memcpy(&value, &some[i], width);
                raw_.push_back(value);
            }
            left -= some.size() / width;
        }
        return {};
    }

    Result<void> skip(uint64_t length)
    {
        std::array<std::byte, 16384> scratch;
        while (length > 0) {
            const auto some = std::span(scratch).first(std::min<uint64_t>(length, scratch.size()));
            TRY(source_.read(some));
            length -= some.size();
        }
        return {};
    }

    /// Run `work`, whose errors get the part's name and where it begins in front.
    template <typename Work>
    Result<void> within(const char *name, Work work)
    {
        const uint64_t begin = source_.offset();
        TRY_IN(at(name, begin), work());
        return {};
    }

    /// Run `deliver`, which must read exactly `length` bytes.
    template <typename Deliver>
    Result<void> exactly(uint64_t length, Deliver deliver)
    {
        const uint64_t end = source_.offset() + length;
        TRY(deliver());
        if (source_.offset() != end)
            return makeError(ErrorCode::Internal, "the data was not read exactly");
        return {};
    }

    Result<void> blob(Blob kind, const char *name, uint32_t length, uint32_t vcpu = 0)
    {
        return within(name, [&] {
            return exactly(length, [&] { return handler_.blob(kind, vcpu, length, source_); });
        });
    }

    // ---- head ----------------------------------------------------------------------
    Result<void> readHead()
    {
        std::array<std::byte, sniffLength> raw;
        TRY(source_.read(raw));
        const Sniffed sniffed = TRY(sniff(raw));
        head_.width = sniffed.width;
        head_.p2mSize = sniffed.p2mSize;
        const uint32_t next = sniffed.next ? *sniffed.next : TRY(number<uint32_t>());
        // The mark could be the chunk ENABLE_VERIFY_MODE, though no sender begins with it.
        if (next != extendedInfoMark || (options_.guest == DomainType::X86Hvm && head_.width == Width::Bits32)) {
            head_.guest = DomainType::X86Hvm;
            marker_ = static_cast<int32_t>(next);
        } else {
            head_.guest = DomainType::X86Pv;
        }
        if (options_.guest && *options_.guest != head_.guest)
            return makeError(ErrorCode::BadFormat, head_.guest == DomainType::X86Hvm
                             ? tr("this is no stream of a PV guest: it has no extended info")
                             : tr("this is no stream of an HVM guest: it has extended info"));
        if (head_.guest == DomainType::X86Pv)
            TRY_IN(tr("extended info"), readExtendedInfo());
        return {};
    }

    Result<void> readExtendedInfo()
    {
        if (head_.p2mSize == 0 || head_.p2mSize > maxPages)
            return makeError(ErrorCode::BadFormat, tr("belongs to a guest of %llu pages"),
                             static_cast<unsigned long long>(head_.p2mSize));
        if (head_.width == Width::Bits64 && TRY(number<uint32_t>()) != extendedInfoMark)
            return makeError(ErrorCode::BadFormat, tr("has a wrong mark"));
        uint32_t left = TRY(number<uint32_t>());
        if (left > maxExtendedInfo)
            return makeError(ErrorCode::BadFormat, tr("is %u bytes long"), left);
        PvInfo &pv = head_.pv.emplace();
        while (left > 0) {
            std::array<char, 4> id;
            TRY(source_.read(std::as_writable_bytes(std::span(id))));
            const uint32_t length = TRY(number<uint32_t>());
            if (left < 8 || length > left - 8)
                return makeError(ErrorCode::BadFormat, tr("has a block of %u bytes where %u are left"), length, left);
            TRY(readBlock(pv, std::string_view(id.data(), id.size()), length));
            left -= 8 + length;
        }
        if (pv.width == 0)
            return makeError(ErrorCode::BadFormat, tr("has no vcpu block"));
        return {};
    }

    Result<void> readBlock(PvInfo &pv, std::string_view id, uint32_t length)
    {
        const auto twice = [&] { return makeError(ErrorCode::BadFormat, tr("has two %.4s blocks"), id.data()); };
        if (id == "vcpu") {
            if (pv.width != 0)
                return twice();
            if (length != context64Length && length != context32Length)
                return makeError(ErrorCode::BadFormat, tr("has a vcpu block of %u bytes"), length);
            pv.contextLength = length;
            pv.width = length == context64Length ? 8 : 4;
            pv.levels = length == context64Length ? 4 : 3;
            return skip(length);
        }
        if (id == "extv") {
            if (pv.extended)
                return twice();
            pv.extended = true;
            return skip(length);
        }
        if (id != "xcnt")
            return makeError(ErrorCode::BadFormat, tr("has an unknown block"));
        if (pv.xsaveLength != 0)
            return twice();
        if (length < sizeof pv.xsaveLength)
            return makeError(ErrorCode::BadFormat, tr("has an xcnt block of %u bytes"), length);
        pv.xsaveLength = TRY(number<uint32_t>());
        if (pv.xsaveLength > maxXsaveLength || (pv.xsaveLength != 0 && pv.xsaveLength < xsaveHeadLength))
            return makeError(ErrorCode::BadFormat, tr("tells of XSAVE areas of %u bytes"), pv.xsaveLength);
        return skip(length - sizeof pv.xsaveLength);
    }

    Result<void> readP2mFrames()
    {
        const uint64_t perFrame = pageSize / head_.pv->width;
        TRY(readWords((head_.p2mSize - 1) / perFrame + 1));
        return handler_.p2mFrames(raw_);
    }

    // ---- one image: chunks, tail, device model ----------------------------------------
    /// Whether it was the last one.
    Result<bool> readImage()
    {
        seen_ = 0;
        params_.clear();
        TRY(readChunks());
        const bool last = !options_.checkpointed || has(Chunk::LastCheckpoint);
        if (head_.guest == DomainType::X86Pv)
            TRY(within("PV tail", [this] { return readPvTail(); }));
        else
            TRY(within("HVM tail", [this] { return readHvmTail(); }));
        TRY(handler_.guestComplete(last));
        if (head_.guest == DomainType::X86Hvm && options_.deviceModel)
            TRY(within("device model", [&] { return readDeviceModel(last); }));
        TRY(handler_.end(last));
        // Pages of the next image come compressed.
        compressing_ = compressing_ || has(Chunk::EnableCompression);
        return last;
    }

    static uint32_t bit(Chunk chunk) { return uint32_t{1} << -static_cast<int32_t>(chunk); }
    bool has(Chunk chunk) const { return seen_ & bit(chunk); }

    Result<void> readChunks()
    {
        for (;;) {
            const uint64_t begin = source_.offset() - (marker_ ? sizeof *marker_ : 0);
            const int32_t id = marker_ ? *marker_ : TRY_IN(at("chunk", begin), number<int32_t>());
            marker_.reset();
            if (id > 0) {
                TRY_IN(at("page batch", begin), readBatch(id));
                continue;
            }
            const ChunkInfo *info = findChunk(id);
            if (!info)
                return makeError(ErrorCode::BadFormat, tr("chunk %d at byte %llu is unknown"), id,
                                 static_cast<unsigned long long>(begin));
            TRY_IN(at(info->name, begin), readChunk(*info));
            if (info->id == Chunk::End)
                return {};
        }
    }

    Result<void> readChunk(const ChunkInfo &info)
    {
        if (has(info.id) && info.body != Body::Compressed)
            return makeError(ErrorCode::BadFormat, tr("comes a second time"));
        seen_ |= bit(info.id);
        switch (info.body) {
        case Body::None:
            return info.id == Chunk::End ? finishChunks() : Result<void>();
        case Body::Param:
            return readParam(info);
        case Body::Vcpus:
            return readVcpus();
        case Body::Tsc:
            return readTsc();
        case Body::Toolstack:
            return readToolstack();
        case Body::Compressed:
            return readCompressed();
        case Body::Unsupported:
            break;
        }
        return makeError(ErrorCode::Unsupported, tr("transcendent memory cannot be restored by any current Xen"));
    }

    Result<void> finishChunks()
    {
        if (countData(pending_) > 0)
            return makeError(ErrorCode::BadFormat, tr("comes before the data of %zu pages"), countData(pending_));
        TRY(deliverPending(pending_.size()));
        return params_.empty() ? Result<void>() : handler_.hvmParams(params_);
    }

    Result<void> readParam(const ChunkInfo &info)
    {
        if (head_.guest != DomainType::X86Hvm)
            return makeError(ErrorCode::BadFormat, tr("does not belong to this type of guest"));
        std::array<std::byte, paramLength> raw;
        TRY(source_.read(raw));
        params_.push_back({info.hvmParam, decodeParam(raw)});
        return {};
    }

    Result<void> readVcpus()
    {
        const uint32_t maxId = TRY(number<uint32_t>());
        if (maxId > maxVcpuId)
            return makeError(ErrorCode::BadFormat, tr("has processor %u (%d is the last)"), maxId, maxVcpuId);
        vcpus_.fill(0);
        for (size_t i = 0; i <= maxId / 64; i++)
            vcpus_[i] = TRY(number<uint64_t>());
        if (vcpus_[maxId / 64] >> (maxId % 64) >> 1)
            return makeError(ErrorCode::BadFormat, tr("has processors beyond its last"));
        return {};
    }

    Result<void> readTsc()
    {
        std::array<std::byte, tscLength> raw;
        TRY(source_.read(raw));
        return handler_.tscInfo(decodeTscInfo(raw));
    }

    Result<void> readToolstack()
    {
        const uint32_t length = TRY(number<uint32_t>());
        if (length > maxToolstack)
            return makeError(ErrorCode::BadFormat, tr("is %u bytes long"), length);
        if (length == 0)
            return {};
        std::vector<std::byte> body(length);
        TRY(source_.read(body));
        return handler_.toolstack(TRY(decodeToolstack(body, head_.width)));
    }

    // ---- pages -----------------------------------------------------------------------
    Result<void> readBatch(int32_t count)
    {
        if (count > maxBatch)
            return makeError(ErrorCode::BadFormat, tr("has %d pages (%d at most)"), count, maxBatch);
        TRY(readWords(static_cast<size_t>(count)));
        std::erase(raw_, voidPageWord);
        words_.clear();
        for (uint64_t raw : raw_)
            words_.push_back(TRY(decodePageWord(raw)));
        std::ranges::sort(raw_);
        if (std::ranges::adjacent_find(raw_) != raw_.end())
            return makeError(ErrorCode::BadFormat, tr("has the same page twice"));
        if (compressing_) {
            if (pending_.size() + words_.size() > maxPending)
                return makeError(ErrorCode::BadFormat, tr("too many pages wait for their data"));
            pending_.insert(pending_.end(), words_.begin(), words_.end());
            return {};
        }
        if (words_.empty())
            return {};
        return exactly(countData(words_) * pageSize, [this] { return handler_.pages(words_, source_); });
    }

    /// Words that wait for compressed data get it.
    Result<void> readCompressed()
    {
        const uint64_t length = TRY(word());
        if (length > pending_.size() * (pageSize + pageSize / 4))
            return makeError(ErrorCode::BadFormat, tr("has %llu bytes for %zu pages"),
                             static_cast<unsigned long long>(length), pending_.size());
        inflated_.resize(inflatedPages * pageSize);
        CompressedChunk chunk(source_, length);
        while (!chunk.empty()) {
            size_t words = 0, pages = 0;
            for (; !chunk.empty() && words < pending_.size() && pages < inflatedPages && words < maxBatch; words++) {
                if (!hasData(pending_[words].type))
                    continue;
                const Page page(&inflated_[pages++ * pageSize], pageSize);
                TRY(chunk.readPage(store_, pending_[words].pfn, page));
            }
            if (pages == 0 && countData(pending_) == 0)
                return makeError(ErrorCode::BadFormat, tr("has more than the pages that wait for it"));
            TRY(deliverPending(words));
        }
        return {};
    }

    /// The first `count` words that waited, with their data in inflated_.
    Result<void> deliverPending(size_t count)
    {
        while (count > 0) {
            const auto words = std::span(pending_).first(std::min<size_t>(count, maxBatch));
            const size_t length = countData(words) * pageSize;
            BufferSource data{std::span(inflated_).first(length)};
            TRY(handler_.pages(words, data));
            if (data.offset() != length)
                return makeError(ErrorCode::Internal, "the pages' data was not read exactly");
            count -= words.size();
            pending_.erase(pending_.begin(), pending_.begin() + static_cast<ptrdiff_t>(words.size()));
        }
        return {};
    }

    // ---- tail ------------------------------------------------------------------------
    Result<void> readPvTail()
    {
        const uint32_t unmapped = TRY(number<uint32_t>());
        if (unmapped > maxUnmapped)
            return makeError(ErrorCode::BadFormat, tr("has %u pages that are not mapped"), unmapped);
        TRY(skip(uint64_t{unmapped} * bytesOf(head_.width)));
        for (uint32_t id = 0; id <= maxVcpuId; id++)
            if (vcpus_[id / 64] >> id % 64 & 1)
                TRY_IN(strprintf(tr("processor %u"), id), readVcpu(id));
        return blob(Blob::SharedInfo, "shared info", pageSize);
    }

    Result<void> readVcpu(uint32_t id)
    {
        const PvInfo &pv = *head_.pv;
        TRY(blob(Blob::VcpuBasic, "basic context", pv.contextLength, id));
        if (pv.extended)
            TRY(blob(Blob::VcpuExtended, "extended context", extendedContextLength, id));
        if (pv.xsaveLength == 0)
            return {};
        TRY(number<uint64_t>());   // the mask, which the area has again
        const uint64_t length = TRY(number<uint64_t>());
        if (length != pv.xsaveLength - xsaveHeadLength)
            return makeError(ErrorCode::BadFormat, tr("has an XSAVE area of %llu bytes, announced with %u"),
                             static_cast<unsigned long long>(length), pv.xsaveLength - xsaveHeadLength);
        return blob(Blob::VcpuXsave, "XSAVE area", static_cast<uint32_t>(length), id);
    }

    Result<void> readHvmTail()
    {
        std::array<uint64_t, 3> pfns;   // I/O requests, buffered I/O requests, xenstore
        TRY(source_.read(std::as_writable_bytes(std::span(pfns))));
        constexpr uint64_t ioreq = 5, bufferedIoreq = 6, store = 1;
        TRY(handler_.hvmParams(std::array<libxc::HvmParam, 3>{{{ioreq, pfns[0]}, {bufferedIoreq, pfns[1]}, {store, pfns[2]}}}));
        const uint32_t length = TRY(number<uint32_t>());
        if (length == 0 || length > libxc::maxBlob)
            return makeError(ErrorCode::BadFormat, tr("has an HVM context of %u bytes"), length);
        return blob(Blob::HvmContext, "HVM context", length);
    }

    Result<void> readDeviceModel(bool last)
    {
        std::array<char, signatureLength> signature;
        TRY(source_.read(std::as_writable_bytes(std::span(signature))));
        const auto info = TRY(findDeviceModel(std::string_view(signature.data(), signature.size())));
        if (!info.hasLength) {
            // Nothing can follow it: its sender knows no LAST_CHECKPOINT.
            if (!last)
                return makeError(ErrorCode::Unsupported,
                                 tr("continuous protection from before LAST_CHECKPOINT cannot be told apart"));
            return handler_.deviceModel(info, std::nullopt, source_);
        }
        const uint32_t length = TRY(number<uint32_t>());
        if (length > libxl::maxDeviceState)
            return makeError(ErrorCode::BadFormat, tr("has a state of %u bytes"), length);
        return exactly(length, [&] { return handler_.deviceModel(info, length, source_); });
    }

    Source &source_;
    Handler &handler_;
    const ReadOptions &options_;
    Head head_;
    std::optional<int32_t> marker_;         // a chunk's id that was read with the head
    std::array<uint64_t, vcpuWords> vcpus_{1};   // senders that tell nothing have processor 0
    uint32_t seen_ = 0;                     // chunks of this image, by bit()
    std::vector<libxc::HvmParam> params_;   // of this image
    bool compressing_ = false;
    std::vector<uint64_t> raw_;             // kept from batch to batch for their memory
    std::vector<libxc::PageWord> words_;
    std::vector<libxc::PageWord> pending_;  // wait for COMPRESSED_DATA
    std::vector<std::byte> inflated_;
    PageStore store_;
};

} // namespace

Result<void> readStream(Source &source, Handler &handler, const ReadOptions &options)
{
    return StreamReader(source, handler, options).run();
}

} // namespace godwit::stream::legacy
