// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/restore.h"

#include "base/i18n.h"
#include "engine/zero_page.h"
#include "stream/convert_reader.h"

#include <cerrno>
#include <unistd.h>

namespace godwit::engine {

using namespace base;
namespace libxc = stream::libxc;
namespace libxl = stream::libxl;

namespace {

class MemoryFiller : public libxc::Handler
{
public:
    MemoryFiller(const MemoryMap &memory, stream::Source &source, Meter &meter)
        : memory_(memory), source_(source), meter_(meter), written_(memory.filePages()),
          buffer_(stepPages * pageSize)
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
        numbers_.clear();
        for (const libxc::PageWord &word : words) {
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
            statistics.streamBytes = source_.offset();
        });
        return {};
    }

    /// Write neighbours at once; zeros into what is still a hole are left out. Returns where
    /// the next run begins.
    Result<size_t> writeRun(size_t first)
    {
        const auto isSuperfluous = [this](size_t i) {
            return isZeroPage(&buffer_[i * pageSize]) && !written_.has(numbers_[i]);
        };
        if (isSuperfluous(first))
            return first + 1;
        size_t end = first;
        do
            written_.add(numbers_[end++]);
        while (end < numbers_.size() && numbers_[end] == numbers_[end - 1] + 1 && !isSuperfluous(end));
        TRY(writeRam(memory_, numbers_[first], {&buffer_[first * pageSize], (end - first) * pageSize}));
        return end;
    }

    const MemoryMap &memory_;
    stream::Source &source_;
    Meter &meter_;
    PageSet written_;
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

Result<std::vector<std::byte>> endRestore(const MemoryMap &memory, Meter &meter, uint64_t offset,
                                          std::optional<libxl::DeviceState> state)
{
    if (!state)
        return makeError(ErrorCode::BadFormat, tr("the stream has no EMULATOR_CONTEXT"));
    if (state->header.emulator == libxl::Emulator::QemuTraditional)
        return makeError(ErrorCode::Unsupported, tr("the stream is of Xen's old device model"));
    meter.update([&](Statistics &statistics) {
        statistics.memoryRemaining = 0;
        statistics.deviceStateBytes = state->data.size();
        statistics.streamBytes = offset;
        statistics.constantPages = memory.guestPages() - std::min(statistics.normalPages, memory.guestPages());
    });
    return std::move(state->data);
}

Result<void> writeRam(const MemoryMap &memory, uint64_t page, std::span<const std::byte> data)
{
    for (size_t done = 0; done < data.size();) {
        const auto offset = static_cast<off_t>(page * pageSize + done);
        const ssize_t count = ::pwrite(memory.fd(), data.data() + done, data.size() - done, offset);
        if (count < 0 && errno != EINTR)
            return systemError(errno, tr("cannot write the guest's RAM"));
        done += static_cast<size_t>(std::max<ssize_t>(count, 0));
    }
    return {};
}

Result<std::vector<std::byte>> restore(const MemoryMap &memory, stream::Source &source, Meter &meter,
                                       StreamVersion version)
{
    beginRestore(memory, meter);
    MemoryFiller filler(memory, source, meter);
    auto state = TRY(version == StreamVersion::Legacy ? stream::readLegacyStream(source, filler)
                                                      : libxl::readStream(source, filler));
    return endRestore(memory, meter, source.offset(), std::move(state));
}

} // namespace godwit::engine
