// SPDX-License-Identifier: LGPL-2.1-or-later
// Restores from a file: one thread walks over the records and reads no page data, workers do.
#include "engine/restore.h"

#include "base/i18n.h"
#include "engine/mapped_pages.h"
#include "engine/workers.h"
#include "engine/zero_page.h"
#include "stream/file_io.h"
#include "stream/skim_source.h"

#include <cerrno>
#include <fcntl.h>
#include <limits>
#include <unistd.h>

namespace godwit::engine {

using namespace base;
namespace libxc = stream::libxc;
namespace libxl = stream::libxl;

namespace {

/// Pages that are neighbours in the file and in RAM.
struct Run {
    uint64_t place = 0;   ///< of the first one's data, from the stream's first byte
    uint64_t page = 0;    ///< its number in RAM
    uint64_t pages = 0;
    bool again = false;   ///< some came before: holes count, too
};

Error endsAt(uint64_t offset)
{
    return makeError(ErrorCode::BadFormat, tr("the stream ends at byte %llu"), static_cast<unsigned long long>(offset));
}

/// Filling RAM through its file costs least, but the file takes one write at a time. A map of
/// it can be filled by several threads, each page of it cleared first: that pays from three on.
unsigned threadsFor(const ImageSource &image, bool direct)
{
    if (image.threads > 0)
        return image.threads;
    if (direct)
        return directThreads;
    return workerCount() < 3 ? 1 : workerCount();
}

class FileFiller : public libxc::Handler
{
public:
    /// `fd` is for page data, and may be another one than the image's.
    FileFiller(const MemoryMap &memory, int fd, uint64_t begin, unsigned threads, Meter &meter)
        : memory_(memory), fd_(fd), begin_(begin), intoMap_(threads > 1), meter_(meter), seen_(memory.filePages()),
          workers_([this](const Run &run, std::span<std::byte> scratch) { return fill(run, scratch); }, threads)
    {
    }

    /// Where pages must be.
    void setLayout(const stream::AlignedLayout *layout) { layout_ = layout; }

    Result<void> begin(uint32_t, const libxc::DomainHeader &header) override
    {
        TRY(checkDomain(header));
        meter_.firstPage();
        return {};
    }

    Result<void> pages(std::span<const libxc::PageWord> words, stream::Source &source) override
    {
        const uint64_t place = source.offset();
        TRY(source.skip(words.size() * pageSize));
        runs_.clear();
        for (size_t i = 0; i < words.size(); i++)
            TRY(add(words[i].pfn, place + i * pageSize));
        for (const Run &run : runs_)
            TRY(handOut(run));
        return {};
    }

    Result<void> pageWithoutData(libxc::PageWord) override { return {}; }
    Result<void> record(libxc::RecordType, std::span<const std::byte>) override { return {}; }

    Result<void> finish() { return workers_.drain(); }
    /// How many pages had data; one that came again counts again.
    uint64_t pagesSeen() const { return pagesSeen_; }

private:
    static constexpr uint64_t longestRun = 1024;
    static constexpr auto endOfFiles = static_cast<uint64_t>(std::numeric_limits<off_t>::max());

    Result<void> add(Pfn pfn, uint64_t place)
    {
        const auto number = memory_.find(pfn);
        if (!number)
            return makeError(ErrorCode::BadFormat, tr("page 0x%llx is no memory of this guest"),
                             static_cast<unsigned long long>(pfn.value));
        if (layout_ && layout_->pageOffset(pfn) != place)
            return makeError(ErrorCode::BadFormat, tr("page 0x%llx is not where the image's index says"),
                             static_cast<unsigned long long>(pfn.value));
        pagesSeen_++;
        const bool continues = !runs_.empty() && runs_.back().page + runs_.back().pages == *number
            && runs_.back().pages < longestRun;
        if (continues)
            runs_.back().pages++;
        else
            runs_.push_back({place, *number, 1, false});
        return {};
    }

    /// Pages that come again wait until those that came before are in place.
    Result<void> handOut(Run run)
    {
        const uint64_t end = run.page + run.pages;
        if (seen_.next(run.page) < end) {
            TRY(workers_.drain());
            run.again = true;
        }
        seen_.addRange(run.page, end);
        if (!run.again)
            return handOutData(run);
        TRY(workers_.push(run));
        return workers_.drain();
    }

    /// Without what are holes in the file. (One search finds the end of a hole or of data, and
    /// serves all runs until there: a file system may look at every page on the way.)
    Result<void> handOutData(const Run &run)
    {
        const uint64_t begin = begin_ + run.place, end = begin + run.pages * pageSize;
        uint64_t holes = run.pages;
        for (uint64_t at = begin; at < end;) {
            if (at >= data_.end)
                data_ = stream::nextData(fd_, at, endOfFiles);
            const uint64_t from = std::max(at, data_.begin), to = std::min(end, data_.end);
            if (from >= end)
                break;
            const uint64_t first = (from - begin) / pageSize, last = (to - begin + pageSize - 1) / pageSize;
            TRY(workers_.push({run.place + first * pageSize, run.page + first, last - first, false}));
            holes -= last - first;
            at = std::max(to, begin + last * pageSize);
        }
        passed(holes, 0);
        return {};
    }

    void passed(uint64_t pages, uint64_t withContent)
    {
        meter_.update([&](Statistics &statistics) {
            statistics.normalPages += withContent;
            statistics.memoryProcessed += pages * pageSize;
            statistics.memoryRemaining -= std::min(pages * pageSize, statistics.memoryRemaining);
            statistics.streamBytes += pages * pageSize;
        });
    }

    // ---- on the workers' threads -------------------------------------------------------

    Result<void> fill(const Run &run, std::span<std::byte> scratch)
    {
        uint64_t withContent = 0;
        for (uint64_t page = 0; page < run.pages;) {
            const uint64_t count = std::min<uint64_t>(run.pages - page, scratch.size() / pageSize);
            const Run part{run.place + page * pageSize, run.page + page, count, run.again};
            withContent += TRY(intoMap_ ? readIntoMap(part) : readThroughBuffer(part, scratch));
            page += count;
        }
        passed(run.pages, withContent);
        return {};
    }

    /// Calls `found` with where each stretch of zeros, or of pages with content, begins and ends.
    static Result<uint64_t> split(std::span<const std::byte> data,
                                  const std::function<Result<void>(uint64_t, uint64_t, bool)> &found)
    {
        const uint64_t pages = data.size() / pageSize;
        const auto isZero = [&](uint64_t i) { return isZeroPage(&data[i * pageSize]); };
        uint64_t withContent = 0;
        for (uint64_t i = 0; i < pages;) {
            const bool zero = isZero(i);
            uint64_t end = i + 1;
            while (end < pages && isZero(end) == zero)
                end++;
            withContent += zero ? 0 : end - i;
            TRY(found(i, end, zero));
            i = end;
        }
        return withContent;
    }

    Result<void> readAll(const Run &run, std::span<std::byte> into)
    {
        const size_t got = TRY_IN(tr("image"), stream::readAt(fd_, into, begin_ + run.place));
        if (got < into.size())
            return endsAt(run.place + got);
        return {};
    }

    Result<uint64_t> readThroughBuffer(const Run &run, std::span<std::byte> scratch)
    {
        const auto data = scratch.first(run.pages * pageSize);
        TRY(readAll(run, data));
        return split(data, [&](uint64_t first, uint64_t end, bool zero) -> Result<void> {
            if (zero && !run.again)
                return {};
            return memory_.write(run.page + first, data.subspan(first * pageSize, (end - first) * pageSize));
        });
    }

    Result<uint64_t> readIntoMap(const Run &run)
    {
        const auto mapped = TRY(MappedPages::map(memory_, run.page, run.pages, MappedPages::Access::Write));
        const auto data = TRY(mapped.pages(run.page, run.pages));
        TRY(readAll(run, data));
        return split(data, [&](uint64_t first, uint64_t end, bool zero) -> Result<void> {
            // Zeros become holes again; where that cannot be done they stay what they are.
            if (zero)
                ::fallocate(memory_.fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                            static_cast<off_t>((run.page + first) * pageSize),
                            static_cast<off_t>((end - first) * pageSize));
            return {};
        });
    }

    const MemoryMap &memory_;
    const int fd_;
    const uint64_t begin_;
    const bool intoMap_;
    Meter &meter_;
    const stream::AlignedLayout *layout_ = nullptr;
    stream::Extent data_{0, 0};       // of the file: the last one found
    PageSet seen_;
    uint64_t pagesSeen_ = 0;
    std::vector<Run> runs_;   // of one record
    Workers<Run> workers_;    // last: they use all of the above
};

} // namespace

Result<DeviceState> restoreImage(const MemoryMap &memory, const ImageSource &image, Meter &meter)
{
    beginRestore(memory, meter);
    const off_t begin = ::lseek(image.fd, 0, SEEK_CUR);
    if (begin < 0)
        return systemError(errno, tr("cannot read the image"));
    std::optional<stream::AlignedLayout> layout;
    if (image.index)
        layout = TRY(memory.layout(*image.index));
    // Without alignment there is no direct I/O; then the image is read as ever.
    UniqueFd direct;
    if (layout)
        direct = TRY(openDirectReader(image.fd, static_cast<uint64_t>(begin), image.cache));

    stream::SkimSource source(image.fd);
    FileFiller filler(memory, direct ? direct.get() : image.fd, static_cast<uint64_t>(begin),
                      threadsFor(image, bool(direct)), meter);
    filler.setLayout(layout ? &*layout : nullptr);
    KeptDeviceState state;
    TRY(libxl::readStream(source, filler, state.keep()));
    TRY(filler.finish());
    // None comes again where each has its place: records follow each other in the file.
    if (layout && filler.pagesSeen() != memory.guestPages())
        return makeError(ErrorCode::BadFormat, tr("the image lacks %llu of the guest's pages"),
                         static_cast<unsigned long long>(memory.guestPages() - filler.pagesSeen()));
    // A file that was cut off meanwhile looked like a hole to the workers.
    if (const uint64_t size = source.size().value_or(0); size < source.offset())
        return endsAt(size);
    return endRestore(memory, meter, source.offset(), std::move(state));
}

} // namespace godwit::engine
