// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stream/verify.h"

#include "base/bytes.h"
#include "base/i18n.h"
#include "base/strprintf.h"
#include "stream/savefile.h"
#include "stream/skim_source.h"
#include "stream/verify_aligned.h"
#include "stream/verify_libxc.h"
#include "stream/verify_libxl.h"
#include "stream/xl_savefile.h"

#include <algorithm>

namespace godwit::stream {

using namespace base;

std::string Finding::text() const
{
    return strprintf(tr("%s at byte %llu: %s"), place.c_str(), static_cast<unsigned long long>(offset), message.c_str());
}

void Findings::add(Severity severity, uint64_t offset, std::string place, std::string message)
{
    (severity == Severity::Error ? report_.errors : report_.warnings)++;
    if (report_.findings.size() < most_)
        report_.findings.push_back({severity, offset, std::move(place), std::move(message)});
}

Result<void> Findings::end(uint64_t offset, std::string place, const Error &error)
{
    if (error.code == ErrorCode::System)
        return error;
    add(Severity::Error, offset, std::move(place), error.message);
    return {};
}

namespace {

/// Hands each layer's elements to the layer's rules.
class StreamVerifier final : public Visitor
{
public:
    /// Of an aligned image with its index: the stream begins at `begin`.
    StreamVerifier(Findings &findings, const VerifyOptions &options, const std::optional<AlignedIndex> &index, uint64_t begin)
        : findings_(findings), options_(options), libxc_(findings), libxl_(findings)
    {
        if (index)
            aligned_.emplace(findings, *index, begin);
    }

    Result<void> libxlHeader(uint64_t offset, std::span<const std::byte> raw) override
    {
        libxl_.header(offset, raw);
        return {};
    }
    Result<void> imageHeader(uint64_t offset, std::span<const std::byte> raw) override
    {
        libxc_.imageHeader(offset, raw);
        return {};
    }
    Result<void> domainHeader(uint64_t offset, std::span<const std::byte> raw) override
    {
        libxc_.domainHeader(offset, raw);
        return {};
    }

    Result<void> record(const RecordAt &record) override
    {
        if (options_.progress)
            options_.progress(record.offset);
        if (record.layer == Layer::Libxl)
            libxl_.record(record);
        else
            libxc_.record(record);
        if (record.is(libxc::RecordType::Checkpoint))
            libxl_.beginCheckpoint();
        if (aligned_)
            aligned_->record(record);
        return {};
    }
    Result<void> body(const RecordAt &record, Source &body) override
    {
        if (record.layer == Layer::Libxl)
            return libxl_.body(record, body, libxc_.guest());
        return libxc_.body(record, body);
    }
    Result<void> pages(const RecordAt &record, std::span<const PageAt> pages) override
    {
        libxc_.pages(record, pages);
        if (aligned_)
            aligned_->pages(record, pages);
        return {};
    }
    bool wantsPageData() const override { return false; }
    Result<void> fault(const RecordAt &record, uint64_t offset, Error error) override
    {
        findings_.errorAt(record, offset, error.message);
        return {};
    }

private:
    Findings &findings_;
    const VerifyOptions &options_;
    LibxcVerifier libxc_;
    LibxlVerifier libxl_;
    std::optional<AlignedVerifier> aligned_;
};

/// Reads past everything: the reader of legacy streams judges.
class LegacyVerifier final : public legacy::Handler
{
public:
    explicit LegacyVerifier(const VerifyOptions &options) : options_(options) {}

    Result<void> begin(const legacy::Head &) override { return {}; }
    Result<void> p2mFrames(std::span<const uint64_t>) override { return {}; }
    Result<void> pages(std::span<const libxc::PageWord> words, Source &source) override
    {
        const auto count = std::ranges::count_if(words, [](const auto &word) { return hasData(word.type); });
        TRY(source.skip(static_cast<uint64_t>(count) * pageSize));
        if (options_.progress)
            options_.progress(source.offset());
        return {};
    }
    Result<void> tscInfo(const libxc::TscInfo &) override { return {}; }
    Result<void> toolstack(std::span<const legacy::Physmap>) override { return {}; }
    Result<void> hvmParams(std::span<const libxc::HvmParam>) override { return {}; }
    Result<void> blob(legacy::Blob, uint32_t, uint32_t length, Source &source) override { return source.skip(length); }
    Result<void> guestComplete(bool) override { return {}; }
    Result<void> deviceModel(const legacy::DeviceModelInfo &, std::optional<uint32_t> length, Source &source) override
    {
        if (length)
            return source.skip(*length);
        std::array<std::byte, 16384> scratch;
        uint64_t total = 0;
        for (size_t count = scratch.size(); count == scratch.size(); total += count) {
            if (total > libxl::maxDeviceState)
                return makeError(ErrorCode::BadFormat, tr("has a state of more than %u bytes"), libxl::maxDeviceState);
            count = TRY(source.readUpTo(scratch));
        }
        return {};
    }
    Result<void> end(bool) override { return {}; }

private:
    const VerifyOptions &options_;
};

Result<void> checkNothingFollows(Findings &findings, Source &source, const VerifyOptions &options)
{
    const uint64_t end = source.offset();
    std::array<std::byte, 1> more;
    if (options.isAlone && TRY(source.readUpTo(more)) > 0)
        findings.add(Severity::Error, end, tr("end of the stream"), tr("is followed by more"));
    return {};
}

Result<void> verifyRecords(Findings &findings, Source &source, const VerifyOptions &options, StreamKind kind,
                           const std::optional<AlignedIndex> &index = {})
{
    StreamVerifier verifier(findings, options, index, source.offset());
    Walker walker(source, verifier, kind);
    if (const auto done = walker.run(); !done) {
        // Continuous protection that was cut off is common, and worth a word.
        Error error = done.error();
        if (const uint32_t whole = walker.lastRecord().checkpoint; whole > 0)
            error.message += strprintf(tr(" (after %u whole checkpoints)"), whole);
        return findings.end(source.offset(), walker.label(), error);
    }
    findings.report().complete = true;
    return checkNothingFollows(findings, source, options);
}

Result<void> verifyLegacy(Findings &findings, Source &source, const VerifyOptions &options,
                          const legacy::ReadOptions &read)
{
    LegacyVerifier handler(options);
    if (const auto done = legacy::readStream(source, handler, read); !done)
        return findings.end(source.offset(), tr("legacy stream"), done.error());
    findings.report().complete = true;
    return checkNothingFollows(findings, source, options);
}

// ---- whole images ---------------------------------------------------------------------------
/// What stands in front of the stream, by its first bytes.
enum class HeadKind : uint8_t { None, Libvirt, Xl };

struct Head {
    HeadKind kind = HeadKind::None;
    std::vector<std::byte> start;                    ///< all of it, or of the stream when there is none
    StreamKind stream = StreamKind::Detect;
    bool legacy = false;
    std::optional<AlignedIndex> index;               ///< of an aligned image
    bool broken = false;                             ///< nobody knows where its stream begins
};

Result<void> verifyLibvirtHead(Findings &findings, Source &source, Head &head)
{
    const auto header = readSavefileHead(source, head.start);
    if (!header) {
        head.broken = true;
        return findings.end(0, tr("image header"), header.error());
    }
    const auto xml = findSavefileXml(*header, std::span(head.start).subspan(savefileHeaderSize));
    if (!xml)
        TRY(findings.end(savefileHeaderSize, tr("domain XML"), xml.error()));
    head.legacy = header->version == SavefileVersion::Legacy;
    head.stream = StreamKind::Libxl;
    if (header->extension && header->extension->layout == SavefileLayout::Aligned)
        head.index = header->extension->index;
    return {};
}

Result<void> verifyXlHead(Findings &findings, Source &source, Head &head)
{
    const auto header = readXlSavefileHead(source, head.start);
    if (!header) {
        head.broken = true;
        return findings.end(0, tr("image header"), header.error());
    }
    const auto config = findXlSavefileConfig(*header, std::span(head.start).subspan(xlSavefileHeaderSize));
    if (!config)
        TRY(findings.end(xlSavefileHeaderSize, tr("optional data"), config.error()));
    head.legacy = header->isLegacy();
    head.stream = StreamKind::Libxl;
    return {};
}

Result<Head> verifyHead(Findings &findings, Source &source)
{
    Head head;
    TRY(source.appendUpTo(head.start, legacy::sniffLength));
    const std::string_view magic = asText(head.start);
    // Other images that libvirt knows are refused by its header's decoder, with their names.
    constexpr std::array known{"libvirt-", "LibvirtQ", "LinuxGue"};
    if (magic == "Xen save") {
        head.kind = HeadKind::Xl;
        TRY(verifyXlHead(findings, source, head));
    } else if (std::ranges::find(known, magic) != known.end()) {
        head.kind = HeadKind::Libvirt;
        TRY(verifyLibvirtHead(findings, source, head));
    } else if (head.start.size() == legacy::sniffLength) {
        const uint64_t word = Reader(head.start, ByteOrder::big).u64().value();
        head.legacy = word != libxl::ident && word != libxc::marker;
    }
    return head;
}

} // namespace

Result<Report> verifyStream(Source &source, const VerifyOptions &options, StreamKind kind)
{
    Findings findings(options.maxFindings);
    TRY(verifyRecords(findings, source, options, kind));
    return findings.takeReport();
}

Result<Report> verifyLegacyStream(Source &source, const VerifyOptions &options, const legacy::ReadOptions &read)
{
    Findings findings(options.maxFindings);
    TRY(verifyLegacy(findings, source, options, read));
    return findings.takeReport();
}

Result<Report> verifyImage(int fd, const VerifyOptions &options)
{
    Findings findings(options.maxFindings);
    SkimSource front(fd);
    const Head head = TRY(verifyHead(findings, front));
    if (head.broken)
        return findings.takeReport();
    TRY(front.settle());
    const bool isBare = head.kind == HeadKind::None;
    SkimSource source(fd, isBare ? 0 : front.offset(), isBare ? head.start : std::vector<std::byte>());
    if (head.legacy)
        TRY(verifyLegacy(findings, source, options, {}));
    else
        TRY(verifyRecords(findings, source, options, head.stream, head.index));
    TRY(source.settle());
    return findings.takeReport();
}

} // namespace godwit::stream
