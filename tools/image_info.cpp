// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tools/image_info.h"

#include "tools/pages.h"
#include "tools/seen_pages.h"

#include <algorithm>

namespace godwit::tools {

using namespace base;
using namespace stream;

namespace {

class Gatherer final : public Contents
{
public:
    Gatherer(ImageInfo &info, bool countZeros) : info_(info), countZeros_(countZeros) {}

    Result<void> head(const StreamHead &head) override
    {
        info_.stream = head;
        return {};
    }

    Result<void> pages(std::span<const libxc::PageWord> words) override
    {
        for (const libxc::PageWord &word : words) {
            info_.pagesByType[static_cast<size_t>(word.type)]++;
            info_.pagesWithData += hasData(word.type) ? 1 : 0;
            if (hasData(word.type) || word.type == libxc::PageType::AllocOnly)
                TRY(note(word.pfn.value));
        }
        info_.pagesSent += words.size();
        return {};
    }

    Result<void> pageData(std::span<const libxc::PageWord> words, Source &data) override
    {
        if (!countZeros_)
            return {};
        buffer_.resize(pagesAtOnce * pageSize);
        for (size_t left = words.size(); left > 0;) {
            const size_t count = std::min(left, pagesAtOnce);
            TRY(data.read(std::span(buffer_).first(count * pageSize)));
            for (size_t i = 0; i < count; i++)
                info_.zeroPages += isZeroPage(std::span(buffer_).subspan(i * pageSize, pageSize)) ? 1 : 0;
            left -= count;
        }
        return {};
    }

    Result<void> part(const Part &part, Source &) override
    {
        const auto found = std::ranges::find(info_.parts, part.name, &std::pair<std::string, uint64_t>::first);
        if (found != info_.parts.end())
            found->second++;
        else if (info_.parts.size() < mostKinds)
            info_.parts.emplace_back(part.name, 1);
        if (part.is(libxc::RecordType::X86PvVcpuBasic) && info_.checkpoints == 0)
            info_.processors++;
        return {};
    }

    Result<void> deviceState(const libxl::EmulatorHeader &header, std::optional<uint64_t> length, Source &state) override
    {
        DeviceModelInfo &model = info_.deviceModel.emplace();
        model.header = header;
        if (length) {
            model.length = *length;
            return {};
        }
        buffer_.resize(pagesAtOnce * pageSize);
        for (size_t count = buffer_.size(); count == buffer_.size(); model.length += count)
            count = TRY(state.readUpTo(buffer_));
        return {};
    }

    Result<void> checkpoint() override
    {
        info_.checkpoints++;
        return {};
    }

private:
    static constexpr size_t mostKinds = 64;   // of unknown optional records there may be more

    Result<void> note(uint64_t pfn)
    {
        info_.endOfMemory = std::max(info_.endOfMemory, pfn + 1);
        info_.distinctPages += TRY(seen_.add(pfn)) ? 1 : 0;
        return {};
    }

    ImageInfo &info_;
    bool countZeros_;
    SeenPages seen_;
    std::vector<std::byte> buffer_;
};

} // namespace

const char *ImageInfo::nameOf(libxc::PageType type)
{
    static constexpr std::array<const char *, 16> names{
        "NOTAB", "L1TAB", "L2TAB", "L3TAB", "L4TAB", "", "", "", "",
        "L1TAB_PINNED", "L2TAB_PINNED", "L3TAB_PINNED", "L4TAB_PINNED", "BROKEN", "XALLOC", "XTAB",
    };
    return names[static_cast<size_t>(type)];
}

const char *emulatorName(const libxl::EmulatorHeader &header)
{
    switch (header.emulator) {
    case libxl::Emulator::QemuTraditional:
        return "qemu-traditional";
    case libxl::Emulator::QemuUpstream:
        return "qemu-upstream";
    case libxl::Emulator::Unknown:
        break;
    }
    return "unknown";
}

/// An image whose XML or configuration is damaged still has memory.
static DomainSummary summariseDomain(const Input &input)
{
    if (input.savefile)
        return summariseXml(*input.config).value_or(DomainSummary());
    if (!input.xl || !input.config)
        return {};
    const std::string_view config = *configurationText(input);
    return input.xl->mandatoryFlags & xlFlagJson ? summariseXlConfig(config).value_or(DomainSummary()) : summariseXlText(config);
}

Result<ImageInfo> gatherInfo(const Input &input, const InfoOptions &options)
{
    ImageInfo info;
    info.zerosCounted = options.countZeros;
    info.domain = summariseDomain(input);
    Gatherer gatherer(info, options.countZeros);
    info.end = TRY(readContents(input, gatherer, options.reading));
    if (input.size && *input.size > info.end)
        info.trailing = *input.size - info.end;
    return info;
}

} // namespace godwit::tools
