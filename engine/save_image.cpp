// SPDX-License-Identifier: LGPL-2.1-or-later
// Writes aligned images: a batch of pages is one job of a worker, at its computed place.
//
// A page has one place in the file, so one that changes after it was written is written
// again there, and the image still has every page exactly once.
#include "engine/save.h"

#include "base/i18n.h"
#include "base/log.h"
#include "engine/device_state.h"
#include "engine/dirty_tracker.h"
#include "engine/limiter.h"
#include "engine/mapped_pages.h"
#include "engine/workers.h"
#include "engine/zero_page.h"
#include "stream/file_io.h"
#include "stream/libxc_writer.h"
#include "stream/libxl_stream.h"

#include <array>
#include <fcntl.h>
#include <optional>

namespace godwit::engine {

using namespace base;
namespace libxc = stream::libxc;
namespace libxl = stream::libxl;
using stream::Batch;

namespace {

class ImageSaver
{
public:
    ImageSaver(const MemoryMap &memory, const ImageTarget &target, stream::AlignedLayout layout, int deviceStatePipe,
               const SaveOptions &options, SaveHost &host, Meter &meter)
        : memory_(memory), target_(target), layout_(std::move(layout)), options_(options), host_(host), meter_(meter),
          limiter_([&host] { return host.limits().bandwidth; }), deviceState_(deviceStatePipe)
    {
    }

    Result<void> run()
    {
        meter_.update([&](Statistics &statistics) {
            statistics.memoryTotal = memory_.guestPages() * pageSize;
            statistics.memoryRemaining = statistics.memoryTotal;
        });
        meter_.enter(Phase::Setup);
        TRY(prepareFile());
        if (options_.live)
            TRY(startTracking());
        meter_.firstPage();
        if (options_.live) {
            enterRound(Phase::Memory);
            TRY(writeAll());
        }
        TRY(stopGuest(host_, deviceState_, meter_));
        enterRound(Phase::LastMemory);
        TRY(options_.live ? writeChanges() : writeAll());
        return writeTail();
    }

private:
    /// The file in its length, all holes; then the stream's head.
    Result<void> prepareFile()
    {
        const off_t begin = ::lseek(target_.fd, 0, SEEK_CUR);
        if (begin < 0 || begin % static_cast<off_t>(pageSize) != 0)
            return makeError(ErrorCode::InvalidArgument, tr("an aligned image cannot begin at byte %lld"),
                             static_cast<long long>(begin));
        begin_ = static_cast<uint64_t>(begin);
        const auto end = static_cast<off_t>(begin_ + layout_.end());
        if (::ftruncate(target_.fd, begin) < 0 || ::ftruncate(target_.fd, end) < 0)
            return systemError(errno, tr("cannot write the image"));
        direct_ = TRY(openDirectWriter(target_.fd, target_.cache));
        stream::FdSink sink(target_.fd);
        TRY(layout_.writeStreamHead(sink, domainHeader));
        written(sink.offset());
        return {};
    }

    Result<void> startTracking()
    {
        tracker_ = TRY(startBestTracker(memory_, options_.guestPid));
        meter_.update([&](Statistics &statistics) { statistics.tracker = tracker_->name(); });
        log(LogLevel::Info, tr("dirty pages are tracked by %s"), tracker_->name());
        return {};
    }

    void enterRound(Phase phase)
    {
        meter_.update([](Statistics &statistics) { statistics.iteration++; });
        meter_.enter(phase);
    }

    Result<void> writeAll()
    {
        const auto begin = Meter::Clock::now();
        present_ = TRY(memory_.presentPages());
        const auto job = [this](uint64_t number, std::span<std::byte> scratch) {
            return writeBatch(layout_.batch(number), scratch);
        };
        Workers<uint64_t> workers(job, direct_ ? directThreads : workerCount());
        for (uint64_t number = 0; number < layout_.batches(); number++)
            TRY(workers.push(number));
        TRY(workers.drain());
        const double seconds = std::chrono::duration<double>(Meter::Clock::now() - begin).count();
        meter_.update([&](Statistics &statistics) {
            if (seconds > 0)
                statistics.bandwidth = static_cast<uint64_t>(static_cast<double>(statistics.streamBytes) / seconds);
        });
        return {};
    }

    /// What the guest wrote, or gave back, since writeAll() looked: to the same places.
    Result<void> writeChanges()
    {
        PageSet dirty(memory_.filePages());
        TRY(tracker_->collect(dirty));
        const PageSet present = TRY(memory_.presentPages());
        for (uint64_t page = present_.next(0); page < present_.size(); page = present_.next(page + 1))
            if (!present.has(page))
                dirty.add(page);
        meter_.update([&](Statistics &statistics) { statistics.memoryRemaining = dirty.count() * pageSize; });
        alignas(pageSize) std::array<std::byte, pageSize> content{};
        for (const Region &region : memory_.regions()) {
            const uint64_t end = region.firstPage + region.pages;
            for (uint64_t page = dirty.next(region.firstPage); page < end; page = dirty.next(page + 1)) {
                TRY(memory_.read(page, content));
                const auto place = *layout_.pageOffset(Pfn{region.firstPfn.value + (page - region.firstPage)});
                TRY(write(content, place));
                passed(1, 1);
            }
        }
        return {};
    }

    // ---- on the workers' threads -----------------------------------------------------

    int dataFd() const { return direct_ ? direct_.get() : target_.fd; }

    Result<void> writeBatch(const Batch &batch, std::span<std::byte> scratch)
    {
        const std::vector<std::byte> head = layout_.encodeHead(batch);
        std::ranges::copy(head, scratch.begin());   // whose place suits direct I/O
        TRY(write(scratch.first(head.size()), batch.offset));
        const uint64_t withContent = TRY(writePages(batch, scratch));
        passed(batch.pages, withContent);
        // Begins writing back long before the end, so that the final sync has little to wait for.
        ::sync_file_range(target_.fd, static_cast<off_t>(begin_ + batch.offset),
                          static_cast<off_t>(batch.dataOffset - batch.offset + batch.pages * pageSize),
                          SYNC_FILE_RANGE_WRITE);
        return {};
    }

    /// Neighbours at once, through a buffer that stays in the processor's cache, or straight to the disk; zeros are
    /// left out. Returns how many were written.
    Result<uint64_t> writePages(const Batch &batch, std::span<std::byte> scratch)
    {
        // A batch does not cross regions, so its pages are neighbours in RAM too.
        const uint64_t first = *memory_.find(batch.first), end = first + batch.pages;
        std::optional<MappedPages> mapped;
        if (direct_ && !tracker_)   // which must see what was written
            mapped.emplace(TRY(MappedPages::map(memory_, first, batch.pages, MappedPages::Access::Read)));
        const uint64_t most = std::min(mapped ? batch.pages : scratch.size() / pageSize, portion());
        uint64_t total = 0;
        for (uint64_t page = present_.next(first); page < end; page = present_.next(page)) {
            uint64_t stop = page + 1;
            while (stop < end && stop - page < most && present_.has(stop))
                stop++;
            const auto content = mapped ? TRY(mapped->pages(page, stop - page)) : scratch.first((stop - page) * pageSize);
            if (!mapped)
                TRY(memory_.read(page, content));
            total += TRY(writeContent(page, content, batch.dataOffset + (page - first) * pageSize));
            page = stop;
        }
        return total;
    }

    /// `content` of pages from `page` on, but for those of zeros.
    Result<uint64_t> writeContent(uint64_t page, std::span<const std::byte> content, uint64_t place)
    {
        uint64_t total = 0;
        const uint64_t pages = content.size() / pageSize;
        for (uint64_t first = 0, zero = 0; first < pages; first = zero + 1) {
            for (zero = first; zero < pages && !isZeroPage(&content[zero * pageSize]); zero++)
                sent(page + zero, &content[zero * pageSize]);
            const uint64_t count = zero - first;
            if (count > 0)
                TRY(write(content.subspan(first * pageSize, count * pageSize), place + first * pageSize));
            total += count;
        }
        return total;
    }

    void sent(uint64_t page, const std::byte *content)
    {
        if (tracker_)
            tracker_->sent(page, content);
    }

    // ---- on any thread ---------------------------------------------------------------

    /// `place` counts from the stream's first byte.
    Result<void> write(std::span<const std::byte> data, uint64_t place)
    {
        {
            // The kernel lets one write at a time into a file through its cache. Those who wait
            // shall sleep, and not spin as they would there.
            std::unique_lock lock(writing_, std::defer_lock);
            if (!direct_)
                lock.lock();
            TRY_IN(tr("image"), stream::writeAt(dataFd(), data, begin_ + place));
        }
        written(data.size());
        if (host_.limits().bandwidth > 0) {
            const std::lock_guard lock(limiting_);
            limiter_.spend(data.size());
        }
        return {};
    }

    /// How many pages to write at once at most.
    uint64_t portion()
    {
        if (host_.limits().bandwidth == 0)
            return layout_.index().batchPages;
        const std::lock_guard lock(limiting_);
        return std::max<uint64_t>(1, limiter_.portion() / pageSize);
    }

    void written(uint64_t bytes)
    {
        meter_.update([&](Statistics &statistics) { statistics.streamBytes += bytes; });
    }

    void passed(uint64_t pages, uint64_t withContent)
    {
        meter_.update([&](Statistics &statistics) {
            statistics.memoryProcessed += pages * pageSize;
            statistics.memoryRemaining -= std::min(pages * pageSize, statistics.memoryRemaining);
            statistics.normalPages += withContent;
            statistics.constantPages += pages - withContent;
        });
    }

    Result<void> writeTail()
    {
        meter_.enter(Phase::DeviceState);
        if (::lseek(target_.fd, static_cast<off_t>(begin_ + layout_.end()), SEEK_SET) < 0)
            return systemError(errno, tr("cannot write the image"));
        stream::FdSink sink(target_.fd);
        TRY(libxc::writeHvmTail(sink, {}, libxc::encodeEmptyHvmContext(), {}));
        const auto state = TRY(deviceState_.finish());
        TRY(state.writeTail(sink));
        written(sink.offset());
        meter_.update([&](Statistics &statistics) { statistics.deviceStateBytes = state.size(); });
        return {};
    }

    const MemoryMap &memory_;
    const ImageTarget target_;
    const stream::AlignedLayout layout_;
    const SaveOptions options_;
    SaveHost &host_;
    Meter &meter_;
    std::mutex writing_;
    std::mutex limiting_;
    Limiter limiter_;            // under limiting_
    DeviceStateReader deviceState_;
    std::unique_ptr<DirtyTracker> tracker_;
    UniqueFd direct_;            // the image once more, without the page cache
    uint64_t begin_ = 0;         // where in the file the stream begins
    PageSet present_;            // the pages that existed when writeAll() looked
};

} // namespace

Result<void> saveImage(const MemoryMap &memory, const ImageTarget &target, int deviceStatePipe,
                       const SaveOptions &options, SaveHost &host, Meter &meter)
{
    if (!stream::isRegularFile(target.fd))
        return makeError(ErrorCode::InvalidArgument, tr("an aligned image must be a regular file"));
    auto layout = TRY(memory.layout(target.index));
    return ImageSaver(memory, target, std::move(layout), deviceStatePipe, options, host, meter).run();
}

} // namespace godwit::engine
