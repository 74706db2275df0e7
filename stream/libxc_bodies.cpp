// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stream/libxc_bodies.h"

#include "base/bytes.h"
#include "base/i18n.h"

#include <algorithm>

namespace godwit::stream::libxc {

using namespace base;

// ---- X86_PV_INFO ------------------------------------------------------------------------
std::vector<std::byte> encodePvInfo(const PvInfo &info)
{
    Writer out;
    out.u8(info.width);
    out.u8(info.levels);
    out.zeros(6);
    return out.take();
}

Result<PvInfo> decodePvInfo(std::span<const std::byte> body)
{
    Reader in(body);
    PvInfo info;
    info.width = TRY(in.u8());
    info.levels = TRY(in.u8());
    TRY(in.zeros(6));
    TRY(in.atEnd());
    if (!isValid(info))
        return makeError(ErrorCode::BadFormat, tr("there is no guest with words of %u bytes and page tables of %u levels"),
                         info.width, info.levels);
    return info;
}

// ---- X86_PV_P2M_FRAMES --------------------------------------------------------------------
std::vector<std::byte> encodeP2mFrames(const P2mFrames &p2m)
{
    Writer out;
    out.u32(p2m.first);
    out.u32(p2m.last);
    for (uint64_t frame : p2m.frames)
        out.u64(frame);
    return out.take();
}

Result<P2mFrames> decodeP2mFrames(std::span<const std::byte> body, const PvInfo &guest)
{
    Reader in(body);
    P2mFrames p2m;
    p2m.first = TRY(in.u32());
    p2m.last = TRY(in.u32());
    if (p2m.first > p2m.last)
        return makeError(ErrorCode::BadFormat, tr("ends at page %u before it begins at %u"), p2m.last, p2m.first);
    const uint64_t count = p2mFrameCount(p2m.first, p2m.last, guest.width);
    if (in.left() != count * sizeof(uint64_t))
        return makeError(ErrorCode::BadFormat, tr("has %zu bytes of frames instead of %llu"), in.left(),
                         static_cast<unsigned long long>(count * sizeof(uint64_t)));
    p2m.frames.resize(count);
    for (uint64_t &frame : p2m.frames)
        frame = TRY(in.u64());
    return p2m;
}

// ---- X86_PV_VCPU_* ------------------------------------------------------------------------
Result<void> checkVcpuContext(RecordType type, uint32_t length, const PvInfo &guest)
{
    const uint32_t basicLength = guest.width == 8 ? basic64Length : basic32Length;
    bool fits = true;
    if (type == RecordType::X86PvVcpuBasic)
        fits = length == basicLength;
    else if (type == RecordType::X86PvVcpuExtended)
        fits = length <= maxExtendedLength;
    else if (type == RecordType::X86PvVcpuXsave)
        fits = length == 0 || length >= minXsaveLength;
    else if (type == RecordType::X86PvVcpuMsrs)
        fits = length % vcpuMsrLength == 0;
    if (!fits)
        return makeError(ErrorCode::BadFormat, tr("has a context of the wrong length %u"), length);
    return {};
}

std::vector<std::byte> encodeVcpuContext(const VcpuContext &context)
{
    Writer out;
    out.u32(context.vcpu);
    out.zeros(4);
    out.bytes(context.context);
    return out.take();
}

Result<VcpuContext> decodeVcpuContext(RecordType type, std::span<const std::byte> body, const PvInfo &guest)
{
    Reader in(body);
    VcpuContext out;
    out.vcpu = TRY(in.u32());
    TRY(in.zeros(4));
    if (out.vcpu >= maxVcpus)
        return makeError(ErrorCode::BadFormat, tr("is of processor %u"), out.vcpu);
    TRY(checkVcpuContext(type, static_cast<uint32_t>(in.left()), guest));
    const auto context = TRY(in.bytes(in.left()));
    out.context.assign(context.begin(), context.end());
    return out;
}

std::vector<std::byte> encodeVcpuMsrs(std::span<const VcpuMsr> msrs)
{
    Writer out;
    for (const VcpuMsr &msr : msrs) {
        out.u32(msr.index);
        out.zeros(4);
        out.u64(msr.value);
    }
    return out.take();
}

Result<std::vector<VcpuMsr>> decodeVcpuMsrs(std::span<const std::byte> context)
{
    Reader in(context);
    std::vector<VcpuMsr> msrs;
    while (in.left() > 0) {
        VcpuMsr &msr = msrs.emplace_back();
        msr.index = TRY(in.u32());
        TRY(in.zeros(4));
        msr.value = TRY(in.u64());
    }
    return msrs;
}

// ---- SHARED_INFO ----------------------------------------------------------------------------
std::vector<std::byte> encodeSharedInfo(PageBytes page)
{
    return {page.begin(), page.end()};
}

Result<PageBytes> decodeSharedInfo(std::span<const std::byte> body)
{
    if (body.size() != pageSize)
        return makeError(ErrorCode::BadFormat, tr("has the wrong length %zu"), body.size());
    return PageBytes(body);
}

// ---- X86_CPUID_POLICY, X86_MSR_POLICY -----------------------------------------------------------
std::vector<std::byte> encodeCpuidPolicy(std::span<const CpuidLeaf> leaves)
{
    Writer out;
    for (const CpuidLeaf &leaf : leaves)
        for (uint32_t value : {leaf.leaf, leaf.subleaf, leaf.a, leaf.b, leaf.c, leaf.d})
            out.u32(value);
    return out.take();
}

Result<std::vector<CpuidLeaf>> decodeCpuidPolicy(std::span<const std::byte> body)
{
    Reader in(body);
    std::vector<CpuidLeaf> leaves;
    do {   // at least one
        CpuidLeaf &leaf = leaves.emplace_back();
        for (uint32_t *value : {&leaf.leaf, &leaf.subleaf, &leaf.a, &leaf.b, &leaf.c, &leaf.d})
            *value = TRY(in.u32());
    } while (in.left() > 0);
    return leaves;
}

std::vector<std::byte> encodeMsrPolicy(std::span<const MsrEntry> entries)
{
    Writer out;
    for (const MsrEntry &entry : entries) {
        out.u32(entry.index);
        out.u32(entry.flags);
        out.u64(entry.value);
    }
    return out.take();
}

Result<std::vector<MsrEntry>> decodeMsrPolicy(std::span<const std::byte> body)
{
    Reader in(body);
    std::vector<MsrEntry> entries;
    do {   // at least one
        MsrEntry &entry = entries.emplace_back();
        entry.index = TRY(in.u32());
        entry.flags = TRY(in.u32());
        entry.value = TRY(in.u64());
    } while (in.left() > 0);
    return entries;
}

// ---- CHECKPOINT_DIRTY_PFN_LIST --------------------------------------------------------------------
std::vector<std::byte> encodeDirtyPfns(std::span<const Pfn> pfns)
{
    Writer out;
    for (Pfn pfn : pfns)
        out.u64(pfn.value);
    return out.take();
}

Result<std::vector<Pfn>> decodeDirtyPfns(std::span<const std::byte> body)
{
    Reader in(body);
    std::vector<Pfn> pfns;
    while (in.left() > 0)
        pfns.push_back(Pfn{TRY(in.u64())});
    return pfns;
}

} // namespace godwit::stream::libxc
