// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/paged_image.h"

#include "base/i18n.h"
#include "engine/restore.h"
#include "stream/file_io.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <sys/stat.h>
#include <unistd.h>

namespace godwit::engine {

using namespace base;
namespace libxc = stream::libxc;
namespace libxl = stream::libxl;

namespace {

/// The stream without its batches: what stands before them, and behind them.
class AroundBatches final : public stream::Source
{
public:
    AroundBatches(int fd, uint64_t begin, const stream::AlignedLayout &layout)
        : fd_(fd), begin_(begin), gap_(layout.index().firstBatch), end_(layout.end())
    {
    }

protected:
    Result<size_t> readSome(std::span<const iovec> parts) override
    {
        const bool before = offset() < gap_;
        const uint64_t at = begin_ + (before ? offset() : end_ + (offset() - gap_));
        size_t most = parts.front().iov_len;
        if (before)
            most = static_cast<size_t>(std::min<uint64_t>(most, gap_ - offset()));
        ssize_t got;
        do
            got = ::pread(fd_, parts.front().iov_base, most, static_cast<off_t>(at));
        while (got < 0 && errno == EINTR);
        if (got < 0)
            return systemError(errno, tr("cannot read the image"));
        return static_cast<size_t>(got);
    }

private:
    const int fd_;
    const uint64_t begin_, gap_, end_;
};

class NoPages final : public libxc::Handler
{
public:
    Result<void> begin(uint32_t, const libxc::DomainHeader &header) override { return checkDomain(header); }
    Result<void> pages(std::span<const libxc::PageWord> words, stream::Source &) override
    {
        if (words.empty())
            return {};
        return makeError(ErrorCode::BadFormat, tr("page 0x%llx is not where the image's index says"),
                         static_cast<unsigned long long>(words.front().pfn.value));
    }
    Result<void> pageWithoutData(libxc::PageWord) override { return {}; }
    Result<void> record(libxc::RecordType, std::span<const std::byte>) override { return {}; }
};

} // namespace

PagedImage::PagedImage(const MemoryMap &memory, const ImageOrigin &origin, stream::AlignedLayout layout)
    : memory_(memory), origin_(origin), layout_(std::move(layout)), modifiedNs_(origin.modifiedNs),
      checked_(layout_.batches())
{
}

Result<std::unique_ptr<PagedImage>> PagedImage::open(const MemoryMap &memory, const ImageOrigin &origin)
{
    auto layout = TRY(memory.layout(origin.index));
    if (origin.begin > static_cast<uint64_t>(std::numeric_limits<off_t>::max()) - layout.end())
        return makeError(ErrorCode::InvalidArgument, tr("the image's stream begins beyond all files"));
    // From here on every place of a page is inside the file.
    if (origin.size < origin.begin || origin.size - origin.begin < layout.end())
        return makeError(ErrorCode::BadFormat, tr("the stream ends at byte %llu"),
                         static_cast<unsigned long long>(origin.size - std::min(origin.size, origin.begin)));
    std::unique_ptr<PagedImage> image(new PagedImage(memory, origin, std::move(layout)));
    image->direct_ = TRY(openDirectReader(origin.fd, origin.begin, origin.cache));
    TRY(image->checkUnchanged());
    return image;
}

Result<DeviceState> PagedImage::readDeviceState(Meter &meter)
{
    beginRestore(memory_, meter);
    AroundBatches source(origin_.fd, origin_.begin, layout_);
    NoPages handler;
    KeptDeviceState state;
    TRY(libxl::readStream(source, handler, state.keep()));
    meter.firstPage();
    auto data = TRY(endRestore(memory_, meter, source.offset(), std::move(state)));
    meter.update([&](Statistics &statistics) {
        statistics.memoryRemaining = statistics.memoryTotal;
        statistics.constantPages = 0;
    });
    return data;
}

std::optional<PagedImage::Place> PagedImage::find(uint64_t page) const
{
    for (const Region &region : memory_.regions()) {
        if (page < region.firstPage || page - region.firstPage >= region.pages)
            continue;
        const Pfn pfn{region.firstPfn.value + (page - region.firstPage)};
        const auto batch = layout_.batchOf(pfn);
        if (!batch)
            return {};
        const stream::Batch home = layout_.batch(*batch);
        const uint64_t before = pfn.value - home.first.value;
        return Place{origin_.begin + home.dataOffset + before * pageSize, home.pages - before, *batch};
    }
    return {};
}

Result<void> PagedImage::read(const Place &place, std::span<std::byte> into)
{
    TRY(checkUnchanged());   // why a head is not what it must be
    TRY(checkHead(place.batch));
    const size_t got = TRY_IN(tr("image"), stream::readAt(fd(), into, place.offset));
    if (got < into.size())
        return makeError(ErrorCode::BadFormat, tr("the image ends at byte %llu"),
                         static_cast<unsigned long long>(place.offset + got));
    // Afterwards: what was read before a change is good.
    return checkUnchanged();
}

Result<void> PagedImage::checkHead(uint64_t batch)
{
    {
        const std::lock_guard lock(mutex_);
        if (checked_[batch])
            return {};
    }
    const stream::Batch home = layout_.batch(batch);
    const std::vector<std::byte> expected = layout_.encodeHead(home);
    // Aligned, as direct I/O wants it.
    const std::unique_ptr<std::byte, decltype(&std::free)> found(
        static_cast<std::byte *>(std::aligned_alloc(pageSize, expected.size())), &std::free);
    if (!found)
        return systemError(ENOMEM, "aligned_alloc");
    const size_t got = TRY_IN(tr("image"), stream::readAt(fd(), std::span(found.get(), expected.size()), origin_.begin + home.offset));
    if (got < expected.size() || std::memcmp(found.get(), expected.data(), expected.size()) != 0)
        return makeError(ErrorCode::BadFormat, tr("page 0x%llx is not where the image's index says"),
                         static_cast<unsigned long long>(home.first.value));
    const std::lock_guard lock(mutex_);
    checked_[batch] = true;
    return {};
}

static uint64_t nanoseconds(const timespec &time)
{
    return static_cast<uint64_t>(time.tv_sec) * 1000000000 + static_cast<uint64_t>(time.tv_nsec);
}

Result<void> PagedImage::checkUnchanged()
{
    struct stat status{};
    if (::fstat(origin_.fd, &status) < 0)
        return systemError(errno, tr("cannot read the image"));
    const std::lock_guard lock(mutex_);
    if (static_cast<uint64_t>(status.st_size) != origin_.size)
        return makeError(ErrorCode::OperationFailed, tr("the image has become %lld bytes long, it was %llu"),
                         static_cast<long long>(status.st_size), static_cast<unsigned long long>(origin_.size));
    if (nanoseconds(status.st_mtim) != modifiedNs_)
        return makeError(ErrorCode::OperationFailed, tr("somebody has written to the image"));
    return {};
}

void PagedImage::acceptChanges()
{
    struct stat status{};
    if (::fstat(origin_.fd, &status) < 0)
        return;
    const std::lock_guard lock(mutex_);
    modifiedNs_ = nanoseconds(status.st_mtim);
    checked_.assign(checked_.size(), false);
}

} // namespace godwit::engine
