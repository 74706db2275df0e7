// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stream/verify_libxc.h"

#include "base/bytes.h"
#include "base/i18n.h"
#include "base/strprintf.h"

#include <algorithm>

namespace godwit::stream {

using namespace base;
using namespace libxc;

namespace {

// No processor addresses more than 52 bits.
constexpr uint64_t pfnLimit = uint64_t{1} << (52 - pageShift);

bool isVcpuRecord(RecordType type)
{
    return type == RecordType::X86PvVcpuBasic || type == RecordType::X86PvVcpuExtended ||
           type == RecordType::X86PvVcpuXsave || type == RecordType::X86PvVcpuMsrs;
}

} // namespace

LibxcVerifier::LibxcVerifier(Findings &findings) : findings_(findings) {}

void LibxcVerifier::imageHeader(uint64_t offset, std::span<const std::byte> raw)
{
    const auto version = decodeImageHeader(raw);
    if (version)
        version_ = *version;
    else
        findings_.add(Severity::Error, offset, tr("libxc image header"), version.error().message);
}

void LibxcVerifier::domainHeader(uint64_t offset, std::span<const std::byte> raw)
{
    const auto header = decodeDomainHeader(raw);
    if (!header) {
        findings_.add(Severity::Error, offset, tr("libxc domain header"), header.error().message);
        return;
    }
    guest_ = header->type;
    converted_ = header->xenMajor == 0;
}

void LibxcVerifier::errorOnce(const RecordAt &record, const char *message)
{
    if (reported_.insert(record.label() + message).second)
        findings_.error(record, message);
}

// ---- a record, by its header --------------------------------------------------------------
void LibxcVerifier::record(const RecordAt &record)
{
    bodyIsWorthReading_ = false;
    const RecordInfo *info = findRecord(record.type);
    if (!info) {
        if (record.type & optionalRecord)
            findings_.warning(record, tr("is unknown and optional: readers skip it"));
        else
            findings_.error(record, tr("is unknown and not optional"));
        return;
    }
    checkRow(record, *info);
    checkOrder(record, info->type);
    checkRepetition(record, info->type);
    everSeen_.set(record.type);
    seenInImage_.set(record.type);
    if (info->type == Type::Checkpoint || info->type == Type::End)
        endImage(record);
}

void LibxcVerifier::checkRow(const RecordAt &record, const RecordInfo &info)
{
    const uint32_t length = record.length;
    bodyIsWorthReading_ = length >= info.minLength && length <= info.maxLength &&
                          (length - info.minLength) % info.granule == 0;
    // PAGE_DATA is the walker's to judge.
    if (!bodyIsWorthReading_ && info.type != Type::PageData)
        findings_.error(record, strprintf(tr("has the wrong length %u"), length));
    if (version_ < info.sinceVersion)
        findings_.error(record, strprintf(tr("does not belong into a stream of version %u"), version_));
    const Guests guest = isHvm() ? Guests::Hvm : Guests::Pv;
    if (guest_ && !(static_cast<uint8_t>(info.guests) & static_cast<uint8_t>(guest)))
        findings_.error(record, tr("does not belong to this type of guest"));
    if (info.type == Type::Toolstack)
        findings_.error(record, tr("is obsolete: no release of Xen restores it"));
    if (info.type == Type::CheckpointDirtyPfnList)
        findings_.error(record, tr("only goes from the secondary host to the primary one"));
}

void LibxcVerifier::checkOrder(const RecordAt &record, Type type)
{
    const bool isStatic = type == Type::X86PvInfo || type == Type::X86CpuidPolicy || type == Type::X86MsrPolicy;
    const bool isLayout = type == Type::X86PvP2mFrames || type == Type::PageData;
    if (version_ >= 3) {
        if (isStatic && seen(Type::StaticDataEnd))
            findings_.error(record, tr("comes after STATIC_DATA_END"));
        if (isLayout && !seen(Type::StaticDataEnd))
            errorOnce(record, tr("comes before STATIC_DATA_END"));
    }
    if (isPv())
        checkDependencies(record, type);
    const bool stateSeen = seenInImage_[static_cast<size_t>(Type::HvmContext)] || seenInImage_[static_cast<size_t>(Type::HvmParams)];
    if (isHvm() && type == Type::PageData && stateSeen && reported_.insert("pages after the state").second)
        findings_.warning(record, tr("comes after HVM_CONTEXT or HVM_PARAMS of the same image"));
    if (type == Type::Checkpoint && seen(Type::Verify))
        findings_.error(record, tr("comes in a stream with VERIFY, which cannot have checkpoints"));
}

/// What a PV guest's records need of those before them.
void LibxcVerifier::checkDependencies(const RecordAt &record, Type type)
{
    const bool isVcpu = isVcpuRecord(type);
    const bool needsInfo = type == Type::X86PvP2mFrames || type == Type::PageData || type == Type::SharedInfo || isVcpu;
    if (needsInfo && !seen(Type::X86PvInfo))
        errorOnce(record, tr("comes before X86_PV_INFO"));
    if (type == Type::PageData && !seen(Type::X86PvP2mFrames))
        errorOnce(record, tr("comes before X86_PV_P2M_FRAMES"));
    if (isVcpu && !seen(Type::PageData))
        errorOnce(record, tr("comes before PAGE_DATA"));
    if (type == Type::PageData && seenInImage_[static_cast<size_t>(Type::X86PvVcpuBasic)])
        errorOnce(record, tr("comes after the processors' records"));
}

void LibxcVerifier::checkRepetition(const RecordAt &record, Type type)
{
    static constexpr std::array onceEver{Type::X86PvInfo, Type::StaticDataEnd, Type::X86CpuidPolicy,
                                         Type::X86MsrPolicy, Type::Verify};
    static constexpr std::array onceInAnImage{Type::SharedInfo, Type::X86TscInfo, Type::HvmContext};
    if ((std::ranges::find(onceEver, type) != onceEver.end() && seen(type)) ||
        (std::ranges::find(onceInAnImage, type) != onceInAnImage.end() && seenInImage_[record.type]))
        findings_.error(record, tr("comes a second time"));
}

// ---- the end of an image ----------------------------------------------------------------------
void LibxcVerifier::endImage(const RecordAt &record)
{
    // Later images may leave out what did not change.
    if (firstImage_)
        checkMissing(record);
    const auto without = (vcpus_.extended | vcpus_.xsave | vcpus_.msrs) & ~vcpus_.basic;
    if (without.any())
        findings_.warning(record, strprintf(tr("comes without X86_PV_VCPU_BASIC of processor %zu, which has other records"),
                                            without._Find_first()));
    firstImage_ = false;
    seenInImage_.reset();
    params_.reset();
    vcpus_ = {};
}

void LibxcVerifier::checkMissing(const RecordAt &record)
{
    const auto missing = [&](Severity severity, Type type) {
        if (!seen(type))
            findings_.add(severity, record.offset, record.label(),
                          strprintf(tr("comes without %s before it"), findRecord(static_cast<uint32_t>(type))->name));
    };
    if (version_ >= 3)
        missing(Severity::Error, Type::StaticDataEnd);
    missing(Severity::Warning, Type::PageData);
    if (isPv()) {
        missing(Severity::Error, Type::X86PvInfo);
        missing(Severity::Error, Type::X86PvP2mFrames);
        missing(Severity::Error, Type::SharedInfo);
        if (!vcpus_.basic[0])
            findings_.error(record, tr("comes without X86_PV_VCPU_BASIC of processor 0 before it"));
    }
    if (isHvm()) {
        missing(Severity::Error, Type::HvmContext);
        missing(Severity::Warning, Type::HvmParams);
    }
    // Legacy streams need not have had it.
    if (!converted_)
        missing(Severity::Warning, Type::X86TscInfo);
}

// ---- PAGE_DATA ----------------------------------------------------------------------------------
void LibxcVerifier::pages(const RecordAt &record, std::span<const PageAt> pages)
{
    const uint64_t last = isPv() ? lastPfn_.value_or(pfnLimit - 1) : pfnLimit - 1;
    for (const PageAt &page : pages) {
        if (page.word.pfn.value > last) {
            findings_.error(record, strprintf(tr("has page 0x%llx, the guest's last one is 0x%llx"),
                                              static_cast<unsigned long long>(page.word.pfn.value),
                                              static_cast<unsigned long long>(last)));
            return;   // one of a record will do
        }
        if (isHvm() && page.word.type != PageType::Normal && hasData(page.word.type) &&
            reported_.insert("page tables").second)
            findings_.warning(record, tr("has page tables, which only PV guests have"));
    }
}

} // namespace godwit::stream
