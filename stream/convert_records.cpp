// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stream/convert_records.h"

#include "base/bytes.h"
#include "base/i18n.h"
#include "stream/libxc_bodies.h"

namespace godwit::stream {

using namespace base;
using legacy::Blob;
using libxc::RecordType;

RecordType recordOf(Blob kind)
{
    switch (kind) {
    case Blob::VcpuBasic:
        return RecordType::X86PvVcpuBasic;
    case Blob::VcpuExtended:
        return RecordType::X86PvVcpuExtended;
    case Blob::VcpuXsave:
        return RecordType::X86PvVcpuXsave;
    case Blob::SharedInfo:
        return RecordType::SharedInfo;
    case Blob::HvmContext:
        break;
    }
    return RecordType::HvmContext;
}

std::vector<std::byte> encodeBlobHead(Blob kind, uint32_t vcpu)
{
    Writer out;
    if (kind == Blob::VcpuBasic || kind == Blob::VcpuExtended || kind == Blob::VcpuXsave) {
        out.u32(vcpu);
        out.zeros(4);
    }
    return out.take();
}

std::vector<std::byte> encodePvInfo(const legacy::PvInfo &pv)
{
    return libxc::encodePvInfo({pv.width, pv.levels});
}

std::vector<std::byte> encodeP2mRange(uint64_t pages)
{
    return libxc::encodeP2mFrames({0, static_cast<uint32_t>(pages - 1), {}});
}

Result<void> checkQemuState(std::span<const std::byte> begin)
{
    constexpr std::string_view magic = "QEVM";
    if (asText(begin).substr(0, magic.size()) != magic)
        return makeError(ErrorCode::BadFormat, tr("has a state that QEMU did not write"));
    return {};
}

} // namespace godwit::stream
