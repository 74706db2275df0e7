// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/restore.h"

#include "base/i18n.h"
#include "base/strprintf.h"
#include "engine/zero_page.h"
#include "stream/convert_reader.h"
#include "stream/stripes.h"

namespace godwit::engine {

using namespace base;
namespace libxc = stream::libxc;
namespace libxl = stream::libxl;

namespace {

class MemoryFiller : public libxc::Handler
{
public:
    /// `written` is shared by the fillers of a transfer's lanes, each of its own stripe.
    MemoryFiller(const MemoryMap &memory, PageSet &written, Meter &meter, stream::Stripe stripe)
        : memory_(memory), written_(written), meter_(meter), stripe_(stripe), buffer_(stepPages * pageSize)
    {
    }

    Result<void> begin(uint32_t, const libxc::DomainHeader &header) override
    {
        TRY(checkDomain(header));
        meter_.firstPage();
        return {};
    }

    Result<void> pages(std::span<const libxc::PageWord> words, stream::Source &source) override
    {
        while (!words.empty()) {
            const auto some = words.first(std::min(words.size(), stepPages));
            TRY(fill(some, source));
            words = words.subspan(some.size());
        }
        return {};
    }

    Result<void> pageWithoutData(libxc::PageWord) override { return {}; }

    /// What Xen keeps of a guest's processors; a machine guest's are in QEMU's device state.
    Result<void> record(libxc::RecordType, std::span<const std::byte>) override { return {}; }

private:
    // Through a buffer that stays in the processor's cache, then write(2): reading straight
    // into a mapping costs more, because each new page is cleared and faulted in first.
    static constexpr size_t stepPages = 128;

    Result<void> fill(std::span<const libxc::PageWord> words, stream::Source &source)
    {
        const uint64_t before = source.offset();
        numbers_.clear();
        for (const libxc::PageWord &word : words) {
            if (!stripe_.has(word.pfn))
                return makeError(ErrorCode::BadFormat, tr("page 0x%llx belongs on another connection"),
                                 static_cast<unsigned long long>(word.pfn.value));
            const auto number = memory_.find(word.pfn);
            if (!number)
                return makeError(ErrorCode::BadFormat, tr("page 0x%llx is no memory of this guest"),
                                 static_cast<unsigned long long>(word.pfn.value));
            numbers_.push_back(*number);
        }
        const auto data = std::span(buffer_).first(words.size() * pageSize);
        TRY(source.read(data));
        for (size_t first = 0; first < numbers_.size();)
            first = TRY(writeRun(first));
        meter_.update([&](Statistics &statistics) {
            statistics.normalPages += words.size();
            statistics.memoryProcessed += data.size();
            statistics.memoryRemaining -= std::min(data.size(), statistics.memoryRemaining);
            statistics.streamBytes += source.offset() - before;
        });
        return {};
    }

    /// Write neighbours at once; zeros into what is still a hole are left out. Returns where
    /// the next run begins.
    Result<size_t> writeRun(size_t first)
    {
        const auto isSuperfluous = [this](size_t i) {
            return isZeroPage(&buffer_[i * pageSize]) && !written_.hasShared(numbers_[i]);
        };
        if (isSuperfluous(first))
            return first + 1;
        size_t end = first;
        do
            written_.addShared(numbers_[end++]);
        while (end < numbers_.size() && numbers_[end] == numbers_[end - 1] + 1 && !isSuperfluous(end));
        TRY(memory_.write(numbers_[first], {&buffer_[first * pageSize], (end - first) * pageSize}));
        return end;
    }

    const MemoryMap &memory_;
    PageSet &written_;
    Meter &meter_;
    const stream::Stripe stripe_;
    std::vector<uint64_t> numbers_;   // of the pages in the buffer
    std::vector<std::byte> buffer_;
};

} // namespace

void beginRestore(const MemoryMap &memory, Meter &meter)
{
    meter.update([&](Statistics &statistics) {
        statistics.memoryTotal = memory.guestPages() * pageSize;
        statistics.memoryRemaining = statistics.memoryTotal;
        statistics.iteration = 1;
    });
    meter.enter(Phase::Memory);
}

Result<void> checkDomain(const libxc::DomainHeader &header)
{
    if (header.type != libxc::DomainType::X86Hvm)
        return makeError(ErrorCode::Unsupported, tr("the stream is of a paravirtual guest, which needs Xen"));
    return {};
}

libxl::DeviceStateHandler KeptDeviceState::keep()
{
    return [this](const libxl::EmulatorHeader &found, std::optional<uint32_t> length, stream::Source &source) -> Result<void> {
        header = found;
        return data.append(source, length);
    };
}

Result<DeviceState> endRestore(const MemoryMap &memory, Meter &meter, uint64_t offset, KeptDeviceState state)
{
    if (!state.header)
        return makeError(ErrorCode::BadFormat, tr("the stream has no EMULATOR_CONTEXT"));
    if (state.header->emulator == libxl::Emulator::QemuTraditional)
        return makeError(ErrorCode::Unsupported, tr("the stream is of Xen's old device model"));
    meter.update([&](Statistics &statistics) {
        statistics.memoryRemaining = 0;
        statistics.deviceStateBytes = state.data.size();
        statistics.streamBytes = offset;
        statistics.constantPages = memory.guestPages() - std::min(statistics.normalPages, memory.guestPages());
    });
    return std::move(state.data);
}

Result<DeviceState> restore(const MemoryMap &memory, stream::Source &source, Meter &meter,
                            StreamVersion version, const FurtherLanes<stream::Source> &further)
{
    beginRestore(memory, meter);
    PageSet written(memory.filePages());
    KeptDeviceState state;
    state.data.prepare();
    const auto first = [&]() -> Result<void> {
        MemoryFiller filler(memory, written, meter, {0, further.count()});
        return version == StreamVersion::Legacy ? stream::readLegacyStream(source, filler, state.keep())
                                                : libxl::readStream(source, filler, state.keep());
    };
    const auto other = [&](size_t index) -> Result<void> {
        MemoryFiller filler(memory, written, meter, {index, further.count()});
        TRY_IN(strprintf(tr("connection %zu"), index), libxc::readPages(*further.streams[index - 1], filler));
        return {};
    };
    TRY(runLanes(further.count(), [&](size_t index) { return index == 0 ? first() : other(index); },
                 further.interrupt));
    uint64_t bytes = source.offset();
    for (const stream::Source *one : further.streams)
        bytes += one->offset();
    return endRestore(memory, meter, bytes, std::move(state));
}

} // namespace godwit::engine
