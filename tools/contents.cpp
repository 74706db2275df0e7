// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tools/contents.h"

#include "base/i18n.h"
#include "base/strprintf.h"
#include "stream/convert_records.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

namespace godwit::tools {

using namespace base;
using namespace stream;

namespace {

/// Bytes in memory, and then some of another source.
class JoinedSource final : public Source
{
public:
    explicit JoinedSource(std::span<const std::byte> first, Source *second = nullptr, uint64_t length = 0)
        : first_(first), second_(second), left_(length)
    {
    }
    Result<void> skip(uint64_t count) override
    {
        const auto fromFirst = std::min<uint64_t>(count, first_.size()), rest = std::min(count - fromFirst, left_);
        first_ = first_.subspan(fromFirst);
        if (rest > 0)
            TRY(second_->skip(rest));
        left_ -= rest;
        advance(fromFirst + rest);
        return {};
    }
    /// What nobody wanted.
    Result<void> finish() { return skip(first_.size() + left_); }

protected:
    Result<size_t> readSome(std::span<const iovec> parts) override
    {
        const auto into = std::span(static_cast<std::byte *>(parts[0].iov_base), parts[0].iov_len);
        if (first_.empty() && left_ == 0)
            return size_t{0};
        if (first_.empty()) {
            const size_t count = TRY(second_->readUpTo(into.first(static_cast<size_t>(std::min<uint64_t>(into.size(), left_)))));
            left_ -= count;
            return count;
        }
        const size_t count = std::min(into.size(), first_.size());
        std::memcpy(into.data(), first_.data(), count);
        first_ = first_.subspan(count);
        return count;
    }

private:
    std::span<const std::byte> first_;
    Source *second_;
    uint64_t left_;
};

/// A stream of version 2 or 3.
class WalkedContents final : public Visitor
{
public:
    WalkedContents(Contents &contents, const ContentsOptions &options) : contents_(contents), options_(options) {}

    Result<void> libxlHeader(uint64_t, std::span<const std::byte> raw) override
    {
        head_.libxl = true;
        head_.converted = TRY(libxl::decodeHeader(raw)).legacy;
        return {};
    }
    Result<void> imageHeader(uint64_t, std::span<const std::byte> raw) override
    {
        head_.version = TRY(libxc::decodeImageHeader(raw));
        return {};
    }
    Result<void> domainHeader(uint64_t, std::span<const std::byte> raw) override
    {
        head_.domain = TRY(libxc::decodeDomainHeader(raw));
        return contents_.head(head_);
    }
    Result<void> record(const RecordAt &record) override
    {
        if (options_.progress)
            options_.progress(record.offset);
        for (; checkpoints_ < record.checkpoint; checkpoints_++)
            TRY(contents_.checkpoint());
        return {};
    }
    Result<void> pages(const RecordAt &, std::span<const PageAt> pages) override { return contents_.pages(wordsOf(pages)); }
    Result<void> pageData(const RecordAt &, std::span<const PageAt> pages, Source &data) override
    {
        return contents_.pageData(wordsOf(pages), data);
    }
    Result<void> body(const RecordAt &record, Source &body) override
    {
        if (record.is(libxl::RecordType::EmulatorContext)) {
            std::array<std::byte, libxl::emulatorHeaderSize> raw;
            TRY(body.read(raw));
            return contents_.deviceState(TRY(libxl::decodeEmulatorHeader(raw)), record.length - raw.size(), body);
        }
        return contents_.part({record.layer, record.type, record.name ? record.name : strprintf("0x%x", record.type),
                               record.length}, body);
    }

private:
    std::span<const libxc::PageWord> wordsOf(std::span<const PageAt> pages)
    {
        words_.clear();
        for (const PageAt &page : pages)
            words_.push_back(page.word);
        return words_;
    }

    Contents &contents_;
    const ContentsOptions &options_;
    StreamHead head_;
    uint32_t checkpoints_ = 0;
    std::vector<libxc::PageWord> words_;   // kept for its memory
};

/// A legacy stream, under the names that its parts get when it is converted.
class LegacyContents final : public legacy::Handler
{
public:
    LegacyContents(Source &source, Contents &contents, const ContentsOptions &options)
        : source_(source), contents_(contents), options_(options)
    {
    }

    Result<void> begin(const legacy::Head &head) override
    {
        pages_ = head.p2mSize;
        StreamHead out;
        out.version = 1;
        out.domain = {head.guest, convertedMajor, convertedMinor};
        out.legacy = head;
        TRY(contents_.head(out));
        return head.pv ? part(libxc::RecordType::X86PvInfo, encodePvInfo(*head.pv)) : Result<void>();
    }
    Result<void> p2mFrames(std::span<const uint64_t> frames) override
    {
        auto body = encodeP2mRange(pages_);
        const auto raw = std::as_bytes(frames);
        body.insert(body.end(), raw.begin(), raw.end());
        return part(libxc::RecordType::X86PvP2mFrames, body);
    }
    Result<void> pages(std::span<const libxc::PageWord> words, Source &source) override
    {
        if (options_.progress)
            options_.progress(source_.offset());
        TRY(contents_.pages(words));
        withData_.clear();
        std::ranges::copy_if(words, std::back_inserter(withData_), [](const auto &word) { return hasData(word.type); });
        JoinedSource data({}, &source, withData_.size() * pageSize);
        TRY(contents_.pageData(withData_, data));
        return data.finish();
    }
    Result<void> tscInfo(const libxc::TscInfo &tsc) override
    {
        return part(libxc::RecordType::X86TscInfo, encodeTscInfo(tsc));
    }
    Result<void> toolstack(std::span<const legacy::Physmap> physmaps) override
    {
        auto body = libxl::encodeEmulatorHeader({libxl::Emulator::Unknown, 0});
        const auto data = legacy::encodeXenstoreData(physmaps);
        body.insert(body.end(), data.begin(), data.end());
        const auto type = libxl::RecordType::EmulatorXenstoreData;
        JoinedSource all(body);
        return contents_.part({Layer::Libxl, static_cast<uint32_t>(type), libxl::findRecord(static_cast<uint32_t>(type))->name,
                               body.size()}, all);
    }
    Result<void> hvmParams(std::span<const libxc::HvmParam> params) override
    {
        return part(libxc::RecordType::HvmParams, encodeHvmParams(params));
    }
    Result<void> blob(legacy::Blob kind, uint32_t vcpu, uint32_t length, Source &source) override
    {
        return part(recordOf(kind), encodeBlobHead(kind, vcpu), &source, length);
    }
    Result<void> guestComplete(bool) override { return {}; }
    Result<void> deviceModel(const legacy::DeviceModelInfo &, std::optional<uint32_t> length, Source &source) override
    {
        constexpr libxl::EmulatorHeader unknown{libxl::Emulator::Unknown, 0};
        if (!length) {
            std::array<std::byte, 4> start;
            if (TRY(source.readUpTo(start)) != start.size() || asText(start) != "QEVM")
                return makeError(ErrorCode::BadFormat, tr("has a state that QEMU did not write"));
            JoinedSource state(start, &source, std::numeric_limits<uint64_t>::max());
            TRY(contents_.deviceState(unknown, std::nullopt, state));
            return skipToEnd(source);
        }
        JoinedSource state({}, &source, *length);
        TRY(contents_.deviceState(unknown, *length, state));
        return state.finish();
    }
    Result<void> end(bool last) override { return last ? Result<void>() : contents_.checkpoint(); }

private:
    Result<void> part(libxc::RecordType type, std::span<const std::byte> head, Source *source = nullptr, uint64_t length = 0)
    {
        JoinedSource body(head, source, length);
        TRY(contents_.part({Layer::Libxc, static_cast<uint32_t>(type), libxc::findRecord(static_cast<uint32_t>(type))->name,
                            head.size() + length}, body));
        return body.finish();
    }

    static Result<void> skipToEnd(Source &source)
    {
        std::vector<std::byte> buffer(64 * 1024);
        while (TRY(source.readUpTo(buffer)) == buffer.size()) {
        }
        return {};
    }

    Source &source_;
    Contents &contents_;
    const ContentsOptions &options_;
    uint64_t pages_ = 0;
    std::vector<libxc::PageWord> withData_;   // kept for its memory
};

} // namespace

Result<uint64_t> readContents(const Input &input, Contents &contents, const ContentsOptions &options)
{
    SkimInput source(input);
    if (input.format == StreamFormat::Legacy) {
        LegacyContents handler(source, contents, options);
        legacy::ReadOptions legacyOptions;
        legacyOptions.checkpointed = options.checkpointed;
        TRY_IN(input.name, legacy::readStream(source, handler, legacyOptions));
        return source.offset();
    }
    WalkedContents visitor(contents, options);
    TRY_IN(input.name, walk(source, visitor, input.format == StreamFormat::Libxl ? StreamKind::Libxl : StreamKind::Libxc));
    return source.offset();
}

} // namespace godwit::tools
