// SPDX-License-Identifier: LGPL-2.1-or-later
// What `info` knows, as text for people.
#include "base/i18n.h"
#include "base/strprintf.h"
#include "tools/image_info.h"
#include "tools/printable.h"

#include <algorithm>

namespace godwit::tools {

using namespace base;
using namespace stream;

namespace {

using Number = unsigned long long;

void line(std::string &out, const char *label, const std::string &value)
{
    out += strprintf("%-16s %s\n", label, printable(value).c_str());
}

const char *containerName(const Input &input)
{
    switch (input.container) {
    case Container::Libvirt:
        return tr("a saved image of libvirt's");
    case Container::Xl:
        return tr("a file of \"xl save\"");
    case Container::None:
        break;
    }
    return tr("a bare stream");
}

std::string describeHeader(const Input &input)
{
    if (input.xl)
        return input.config ? strprintf(tr("configuration of %zu bytes"), input.config->size()) : tr("no configuration");
    const SavefileHeader &header = *input.savefile;
    std::string out = strprintf(tr("version %u, domain XML of %zu bytes"), static_cast<unsigned>(header.version),
                                input.config->size());
    if (header.order == ByteOrder::big)
        out += tr(", big-endian");
    if (!header.extension)
        return out;
    out += tr("; by Godwit");
    if (header.extension->layout == SavefileLayout::Aligned)
        out += strprintf(tr(", pages aligned from byte %llu on in batches of %u"),
                         Number{input.streamOffset + header.extension->index.firstBatch}, header.extension->index.batchPages);
    if (header.extension->state != SavedState::Unknown)
        out += header.extension->state == SavedState::Running ? tr(", the guest was running") : tr(", the guest was paused");
    return out;
}

std::string describeStream(const StreamHead &head)
{
    std::string out;
    if (head.legacy)
        return strprintf(tr("legacy (version 1), of a %zu-bit toolstack"), bytesOf(head.legacy->width) * 8);
    if (head.libxl)
        out = strprintf(tr("libxl version %u, "), libxl::version);
    out += strprintf(tr("libxc version %u"), head.version);
    if (head.domain.xenMajor > 0)
        out += strprintf(tr(", written by Xen %u.%u"), head.domain.xenMajor, head.domain.xenMinor);
    else
        out += tr(", converted from a legacy stream");
    return out;
}

std::string describeGuest(const ImageInfo &info)
{
    std::string out = info.stream.domain.type == libxc::DomainType::X86Hvm ? "HVM" : "PV";
    if (info.processors > 0)
        out += strprintf(tr(", processors: %llu"), Number{info.processors});
    return out;
}

std::string describeMemory(const ImageInfo &info)
{
    if (info.endOfMemory == 0)
        return tr("none");
    return strprintf(tr("%llu pages, %.1f MiB; the highest is 0x%llx"), Number{info.distinctPages},
                     static_cast<double>(info.distinctPages) * pageSize / static_cast<double>(MiB),
                     Number{info.endOfMemory - 1});
}

std::string describeParts(const ImageInfo &info)
{
    std::string out;
    for (const auto &[name, count] : info.parts) {
        out += out.empty() ? name : ", " + name;
        if (count > 1)
            out += strprintf(" x %llu", Number{count});
    }
    return out;
}

std::string describeDeviceModel(const DeviceModelInfo &model)
{
    return strprintf(tr("%s, %llu bytes"), emulatorName(model.header), Number{model.length});
}

} // namespace

std::string formatInfo(const Input &input, const ImageInfo &info)
{
    std::string out;
    line(out, tr("Input:"), input.name + ", " + containerName(input));
    if (input.container != Container::None)
        line(out, tr("Header:"), describeHeader(input));
    if (!info.domain.name.empty())
        line(out, tr("Domain:"), info.domain.name);
    if (!info.domain.uuid.empty())
        line(out, tr("UUID:"), info.domain.uuid);
    if (!info.domain.type.empty())
        line(out, tr("Domain type:"), info.domain.type);
    line(out, tr("Stream:"), describeStream(info.stream));
    line(out, tr("Guest:"), describeGuest(info));
    line(out, tr("Memory:"), describeMemory(info));
    line(out, tr("Pages sent:"), strprintf(tr("%llu, %llu with data"), Number{info.pagesSent}, Number{info.pagesWithData}));
    for (size_t type = 0; type < info.pagesByType.size(); type++)
        if (info.pagesByType[type] > 0)
            line(out, "", strprintf("%-13s %llu", ImageInfo::nameOf(static_cast<libxc::PageType>(type)),
                                    Number{info.pagesByType[type]}));
    if (info.zerosCounted)
        line(out, tr("Zero pages:"), strprintf("%llu", Number{info.zeroPages}));
    line(out, tr("Other records:"), describeParts(info));
    line(out, tr("Device model:"), info.deviceModel ? describeDeviceModel(*info.deviceModel) : tr("none"));
    line(out, tr("Checkpoints:"), info.checkpoints > 0 ? strprintf("%llu", Number{info.checkpoints}) : tr("none"));
    if (info.trailing > 0)
        line(out, tr("Trailing:"), strprintf(tr("%llu bytes from byte %llu on belong to nothing"), Number{info.trailing},
                                             Number{info.end}));
    return out;
}

} // namespace godwit::tools
