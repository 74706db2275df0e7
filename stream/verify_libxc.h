// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "stream/libxc_bodies.h"
#include "stream/verify_findings.h"

#include <bitset>
#include <set>

namespace godwit::stream {

/// The rules of one libxc stream.
///
/// An image is what a checkpoint, or the end, makes whole. Static data comes once, in the
/// first image; most of the other records once in each.
class LibxcVerifier
{
public:
    explicit LibxcVerifier(Findings &findings);

    void imageHeader(uint64_t offset, std::span<const std::byte> raw);
    void domainHeader(uint64_t offset, std::span<const std::byte> raw);
    void record(const RecordAt &record);
    base::Result<void> body(const RecordAt &record, Source &body);
    void pages(const RecordAt &record, std::span<const PageAt> pages);

    /// Once the domain header is read, and says something known.
    std::optional<libxc::DomainType> guest() const { return guest_; }

private:
    using Type = libxc::RecordType;

    /// Which processors had which record in this image.
    struct Vcpus {
        using Set = std::bitset<libxc::maxVcpus>;
        Set basic, extended, xsave, msrs;

        Set &of(Type type)
        {
            if (type == Type::X86PvVcpuBasic)
                return basic;
            if (type == Type::X86PvVcpuExtended)
                return extended;
            return type == Type::X86PvVcpuXsave ? xsave : msrs;
        }
    };

    bool isPv() const { return guest_ == libxc::DomainType::X86Pv; }
    bool isHvm() const { return guest_ == libxc::DomainType::X86Hvm; }
    bool seen(Type type) const { return everSeen_[static_cast<size_t>(type)]; }
    /// A finding that many records would repeat.
    void errorOnce(const RecordAt &record, const char *message);

    void checkRow(const RecordAt &record, const libxc::RecordInfo &info);
    void checkOrder(const RecordAt &record, Type type);
    void checkDependencies(const RecordAt &record, Type type);
    void checkRepetition(const RecordAt &record, Type type);
    void endImage(const RecordAt &record);
    void checkMissing(const RecordAt &record);

    base::Result<void> checkPvInfo(const RecordAt &record, Source &body);
    base::Result<void> checkP2mFrames(const RecordAt &record, Source &body);
    base::Result<void> checkVcpu(const RecordAt &record, Source &body);
    base::Result<void> checkTsc(const RecordAt &record, Source &body);
    base::Result<void> checkHvmContext(const RecordAt &record, Source &body);
    base::Result<void> checkHvmParams(const RecordAt &record, Source &body);
    base::Result<void> checkMsrPolicy(const RecordAt &record, Source &body);

    Findings &findings_;
    uint32_t version_ = libxc::currentVersion;
    std::optional<libxc::DomainType> guest_;
    bool converted_ = false;                ///< from a legacy stream
    bool firstImage_ = true;
    bool bodyIsWorthReading_ = false;       ///< the record is known, and its length right
    std::bitset<32> everSeen_, seenInImage_;
    std::optional<libxc::PvInfo> pvInfo_;
    std::optional<uint64_t> lastPfn_;       ///< of a PV guest: what X86_PV_P2M_FRAMES covers
    Vcpus vcpus_;
    std::bitset<64> params_;
    std::set<std::string> reported_;
};

} // namespace godwit::stream
