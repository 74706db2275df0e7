// SPDX-License-Identifier: LGPL-2.1-or-later
// The part of LibxcVerifier that looks into bodies. They are read in small pieces, and not
// at all where the specification says nothing of what they hold.
#include "base/bytes.h"
#include "base/i18n.h"
#include "base/strprintf.h"
#include "stream/hvm_context.h"
#include "stream/verify_libxc.h"

namespace godwit::stream {

using namespace base;
using namespace libxc;

namespace {

constexpr size_t piece = 4096;   // a multiple of every entry's size

/// Call `look(entry, offset)` for each entry of what is left of a body, until it says false.
template <size_t Size, typename Look>
Result<void> forEachEntry(Source &body, uint64_t length, Look look)
{
    std::array<std::byte, piece / Size * Size> buffer;
    while (length >= Size) {
        const auto some = std::span(buffer).first(std::min<uint64_t>(buffer.size(), length / Size * Size));
        const uint64_t at = body.offset();
        TRY(body.read(some));
        for (size_t i = 0; i < some.size(); i += Size)
            if (!look(std::span<const std::byte, Size>(some.subspan(i, Size)), at + i))
                return {};
        length -= some.size();
    }
    return {};
}

template <size_t Size>
Result<std::array<std::byte, Size>> readBytes(Source &body)
{
    std::array<std::byte, Size> raw;
    TRY(body.read(raw));
    return raw;
}

unsigned long long wide(uint64_t number)
{
    return number;
}

} // namespace

Result<void> LibxcVerifier::body(const RecordAt &record, Source &body)
{
    if (!bodyIsWorthReading_)
        return {};
    switch (static_cast<Type>(record.type)) {
    case Type::X86PvInfo:
        return checkPvInfo(record, body);
    case Type::X86PvP2mFrames:
        return checkP2mFrames(record, body);
    case Type::X86PvVcpuBasic:
    case Type::X86PvVcpuExtended:
    case Type::X86PvVcpuXsave:
    case Type::X86PvVcpuMsrs:
        return checkVcpu(record, body);
    case Type::X86TscInfo:
        return checkTsc(record, body);
    case Type::HvmContext:
        return checkHvmContext(record, body);
    case Type::HvmParams:
        return checkHvmParams(record, body);
    case Type::X86MsrPolicy:
        return checkMsrPolicy(record, body);
    default:
        return {};
    }
}

Result<void> LibxcVerifier::checkPvInfo(const RecordAt &record, Source &body)
{
    const auto raw = TRY(readBytes<8>(body));
    const auto info = decodePvInfo(raw);
    if (info)
        pvInfo_ = *info;
    else
        findings_.error(record, info.error().message);
    return {};
}

Result<void> LibxcVerifier::checkP2mFrames(const RecordAt &record, Source &body)
{
    const auto raw = TRY(readBytes<p2mHeadSize>(body));
    Reader in(raw);
    const uint32_t first = TRY(in.u32()), last = TRY(in.u32());
    if (first > last) {
        findings_.error(record, strprintf(tr("ends at page %u before it begins at %u"), last, first));
        return {};
    }
    lastPfn_ = std::max<uint64_t>(lastPfn_.value_or(0), last);
    const uint64_t length = record.length - p2mHeadSize;
    if (pvInfo_ && length != p2mFrameCount(first, last, pvInfo_->width) * sizeof(uint64_t))
        findings_.error(record, strprintf(tr("has %llu bytes of frames instead of %llu"), wide(length),
                                          wide(p2mFrameCount(first, last, pvInfo_->width) * sizeof(uint64_t))));
    return forEachEntry<sizeof(uint64_t)>(body, length, [&](auto entry, uint64_t offset) {
        const uint64_t frame = Reader(entry).u64().value();
        if (frame > *lastPfn_)
            findings_.errorAt(record, offset, strprintf(tr("has its table in page 0x%llx, the guest's last one is 0x%llx"),
                                                        wide(frame), wide(*lastPfn_)));
        return frame <= *lastPfn_;
    });
}

Result<void> LibxcVerifier::checkVcpu(const RecordAt &record, Source &body)
{
    const auto type = static_cast<Type>(record.type);
    const auto raw = TRY(readBytes<vcpuHeadSize>(body));
    Reader in(raw);
    const uint32_t vcpu = TRY(in.u32()), reserved = TRY(in.u32());
    if (reserved != 0)
        findings_.errorAt(record, record.bodyOffset() + 4, strprintf(tr("has reserved bits set: 0x%x"), reserved));
    const uint32_t length = record.length - static_cast<uint32_t>(vcpuHeadSize);
    if (length == 0 && type != Type::X86PvVcpuBasic) {
        findings_.warning(record, tr("is empty, as old releases wrote it"));
        return {};
    }
    if (vcpu >= maxVcpus) {
        findings_.error(record, strprintf(tr("is of processor %u"), vcpu));
        return {};
    }
    auto &had = vcpus_.of(type);
    if (had[vcpu])
        findings_.error(record, strprintf(tr("comes a second time for processor %u"), vcpu));
    had.set(vcpu);
    // Without X86_PV_INFO, which is missed elsewhere, either width may be right.
    if (const auto fits = checkVcpuContext(type, length, pvInfo_.value_or(PvInfo{}));
        !fits && (pvInfo_ || !checkVcpuContext(type, length, PvInfo{4, 3})))
        findings_.error(record, fits.error().message);
    if (type != Type::X86PvVcpuMsrs)
        return {};
    return forEachEntry<vcpuMsrLength>(body, length, [&](auto entry, uint64_t offset) {
        const bool good = decodeVcpuMsrs(entry).has_value();
        if (!good)
            findings_.errorAt(record, offset, tr("has an entry with reserved bits set"));
        return good;
    });
}

Result<void> LibxcVerifier::checkTsc(const RecordAt &record, Source &body)
{
    constexpr uint32_t lastMode = 3;
    const auto raw = TRY(readBytes<24>(body));
    const auto tsc = decodeTscInfo(raw);
    if (!tsc)
        findings_.error(record, tsc.error().message);
    else if (tsc->mode > lastMode)
        findings_.warning(record, strprintf(tr("has mode %u, which is not known"), tsc->mode));
    return {};
}

/// The specification says nothing of its content, so that nothing here is an error.
Result<void> LibxcVerifier::checkHvmContext(const RecordAt &record, Source &body)
{
    const uint64_t end = record.bodyOffset() + record.length;
    for (size_t count = 0; count <= hvm::maxEntries; count++) {
        const uint64_t at = body.offset();
        if (end - at < hvm::entryHeadSize) {
            findings_.warningAt(record, at, tr("has entries that do not end with Xen's"));
            return {};
        }
        const auto raw = TRY(readBytes<hvm::entryHeadSize>(body));
        const hvm::EntryHead head = hvm::decodeEntryHead(raw);
        if (head.length > end - body.offset() || (head.type == hvm::EntryType::Header) != (count == 0)) {
            findings_.warningAt(record, at, tr("has entries that are not Xen's"));
            return {};
        }
        if (head.type == hvm::EntryType::End) {
            if (body.offset() != end || head.length != 0)
                findings_.warningAt(record, at, tr("goes on after its end"));
            return {};
        }
        if (count > 0) {
            TRY(body.skip(head.length));
            continue;
        }
        std::array<std::byte, hvm::headerLength> header;
        if (head.length != header.size()) {
            findings_.warningAt(record, at, tr("has entries that are not Xen's"));
            return {};
        }
        TRY(body.read(header));
        if (const auto good = hvm::decodeHeader(header); !good)
            findings_.warningAt(record, at, good.error().message);
    }
    findings_.warning(record, strprintf(tr("has more than %zu entries"), hvm::maxEntries));
    return {};
}

Result<void> LibxcVerifier::checkHvmParams(const RecordAt &record, Source &body)
{
    constexpr uint64_t lastParam = 38;   // MCA_CAP
    const auto raw = TRY(readBytes<8>(body));
    Reader in(raw);
    const uint32_t count = TRY(in.u32()), reserved = TRY(in.u32());
    if (reserved != 0)
        findings_.errorAt(record, record.bodyOffset() + 4, strprintf(tr("has reserved bits set: 0x%x"), reserved));
    const uint64_t length = record.length - raw.size();
    if (uint64_t{count} * sizeof(HvmParam) != length) {
        findings_.error(record, strprintf(tr("has %u parameters in %llu bytes"), count, wide(length)));
        return {};
    }
    return forEachEntry<sizeof(HvmParam)>(body, length, [&](auto entry, uint64_t offset) {
        const uint64_t index = Reader(entry).u64().value();
        if (index > lastParam)
            findings_.warningAt(record, offset, strprintf(tr("has parameter %llu, which is not known"), wide(index)));
        else if (params_[index])
            findings_.warningAt(record, offset, strprintf(tr("has parameter %llu a second time"), wide(index)));
        else
            params_.set(index);
        return true;
    });
}

Result<void> LibxcVerifier::checkMsrPolicy(const RecordAt &record, Source &body)
{
    return forEachEntry<sizeof(MsrEntry)>(body, record.length, [&](auto entry, uint64_t offset) {
        const auto flags = Reader(entry.subspan(sizeof(uint32_t))).u32().value();
        if (flags != 0)
            findings_.warningAt(record, offset, strprintf(tr("has an entry with unknown flags 0x%x"), flags));
        return flags == 0;
    });
}

} // namespace godwit::stream
