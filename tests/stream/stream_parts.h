// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// Streams as lists of their parts, each of which a test can change; and what the verifier finds in them.

#include "base/strprintf.h"
#include "stream/libxc_bodies.h"
#include "stream/verify.h"
#include "tests/stream/legacy_streams.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <memory>

namespace godwit::tests {

using namespace base;
using namespace stream;
using libxc::DomainType;
using libxc::PageType;
using Xc = libxc::RecordType;
using Xl = libxl::RecordType;

struct Part {
    std::string name;
    Bytes data;
};

/// A stream as a list of its parts, so that a test can change one.
class Parts
{
public:
    Parts &add(const std::string &name, const Bytes &data)
    {
        parts_.push_back({name, data});
        return *this;
    }
    Parts &xc(Xc type, const Bytes &body = {}) { return add(libxc::findRecord(static_cast<uint32_t>(type))->name, record(type, body)); }
    Parts &xl(Xl type, const Bytes &body = {})
    {
        return add(strprintf("libxl %s", libxl::findRecord(static_cast<uint32_t>(type))->name), record(type, body));
    }

    Parts without(const std::string &name) const
    {
        Parts out;
        for (const Part &part : parts_)
            if (part.name != name)
                out.parts_.push_back(part);
        return out;
    }
    Parts with(const std::string &name, const Bytes &data) const
    {
        Parts out = *this;
        out.find(name)->data = data;
        return out;
    }
    /// `name`'s record with another body.
    Parts withBody(const std::string &name, const Bytes &body) const
    {
        Parts out = *this;
        const auto part = out.find(name);
        part->data = record(std::to_integer<uint32_t>(part->data[0]), body);
        return out;
    }
    Parts before(const std::string &name, const Bytes &data) const
    {
        Parts out = *this;
        out.parts_.insert(out.find(name), {"new", data});
        return out;
    }
    Parts after(const std::string &name, const Bytes &data) const
    {
        Parts out = *this;
        out.parts_.insert(out.find(name) + 1, {"new", data});
        return out;
    }
    Parts twice(const std::string &name) const { return after(name, get(name)); }
    Bytes get(const std::string &name) const { return const_cast<Parts *>(this)->find(name)->data; }

    Bytes all() const
    {
        Bytes out;
        for (const Part &part : parts_)
            out.insert(out.end(), part.data.begin(), part.data.end());
        return out;
    }

private:
    std::vector<Part>::iterator find(const std::string &name)
    {
        for (auto part = parts_.begin(); part != parts_.end(); ++part)
            if (part->name == name)
                return part;
        ADD_FAILURE() << "no " << name;
        return parts_.begin();
    }

    std::vector<Part> parts_;
};

inline Bytes emulator(const Bytes &data = bytesOf("QEVM"), libxl::Emulator which = libxl::Emulator::QemuUpstream)
{
    return concat({libxl::encodeEmulatorHeader({which, 0}), data});
}

inline Bytes vcpu(uint32_t number, size_t length)
{
    return libxc::encodeVcpuContext({number, Bytes(length)});
}

inline Parts &addHvmImage(Parts &parts)
{
    const std::vector<libxc::HvmParam> params{{1, 5}, {17, 6}};
    return parts.xc(Xc::PageData, pageData({{Pfn{1}}, {Pfn{2}, PageType::Absent}}))
        .xc(Xc::X86TscInfo, libxc::encodeTscInfo({}))
        .xc(Xc::HvmContext, libxc::encodeEmptyHvmContext())
        .xc(Xc::HvmParams, libxc::encodeHvmParams(params));
}

inline Parts begin(uint32_t version, DomainType guest)
{
    const Bytes headers = libxcHeaders(version, guest);
    return Parts().add("libxl header", libxl::encodeHeader({})).xl(Xl::LibxcContext)
        .add("image header", {headers.begin(), headers.begin() + 24})
        .add("domain header", {headers.begin() + 24, headers.end()});
}

inline Parts hvmStream(uint32_t version = 3)
{
    Parts parts = begin(version, DomainType::X86Hvm);
    if (version >= 3)
        parts.xc(Xc::X86CpuidPolicy, Bytes(24)).xc(Xc::X86MsrPolicy, Bytes(16)).xc(Xc::StaticDataEnd);
    return addHvmImage(parts).xc(Xc::End)
        .xl(Xl::EmulatorXenstoreData, emulator(bytesOf({"key\0value\0", 10})))
        .xl(Xl::EmulatorContext, emulator()).xl(Xl::End);
}

inline Parts pvStream()
{
    return begin(3, DomainType::X86Pv).xc(Xc::X86PvInfo, libxc::encodePvInfo({})).xc(Xc::StaticDataEnd)
        .xc(Xc::X86PvP2mFrames, libxc::encodeP2mFrames({0, 1000, {3, 4}}))
        .xc(Xc::PageData, pageData({{Pfn{1}}, {Pfn{1000}, PageType::Absent}}))
        .xc(Xc::X86TscInfo, libxc::encodeTscInfo({})).xc(Xc::SharedInfo, Bytes(pageSize))
        .xc(Xc::X86PvVcpuBasic, vcpu(0, 0x1430)).xc(Xc::X86PvVcpuExtended, vcpu(0, 128))
        .xc(Xc::X86PvVcpuXsave, vcpu(0, 32)).xc(Xc::X86PvVcpuMsrs, vcpu(0, 16))
        .xc(Xc::End).xl(Xl::End);
}

inline Parts remusStream()
{
    Parts parts = begin(3, DomainType::X86Hvm).xc(Xc::StaticDataEnd);
    addHvmImage(parts).xc(Xc::Checkpoint).xl(Xl::EmulatorContext, emulator()).xl(Xl::CheckpointEnd);
    const Bytes again = addHvmImage(*std::make_unique<Parts>()).all();
    return parts.add("second image", again).xc(Xc::End).add("last emulator", record(Xl::EmulatorContext, emulator())).xl(Xl::End);
}

inline std::string textOf(const Report &report)
{
    std::string out;
    for (const Finding &finding : report.findings)
        out += strprintf("%s%s: %s\n", finding.severity == Severity::Warning ? "warning: " : "", finding.place.c_str(),
                         finding.message.c_str());
    return out;
}

inline Bytes flipped(Bytes data, size_t at, uint8_t bits = 1)
{
    data[at] ^= std::byte{bits};
    return data;
}

} // namespace godwit::tests
