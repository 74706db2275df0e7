// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stream/skim_source.h"

#include "base/i18n.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

namespace godwit::stream {

using namespace base;

// Holds the head and the words of a PAGE_DATA as Xen writes it, so that such a record
// takes one system call, whatever its data.
static constexpr size_t windowSize = 8 * 1024 + 512;
static constexpr size_t wasteSize = 256 * 1024;

SkimSource::SkimSource(int fd, uint64_t offset, std::span<const std::byte> start) : FdSource(fd)
{
    advance(offset);
    struct stat status{};
    if (::fstat(fd, &status) != 0)
        return;   // reading will say what is wrong
    const off_t position = S_ISREG(status.st_mode) || S_ISBLK(status.st_mode) ? ::lseek(fd, 0, SEEK_CUR) : -1;
    isFile_ = position >= 0;
    if (isFile_)
        base_ = position - static_cast<int64_t>(start.size() + offset);
    else
        start_.assign(start.begin(), start.end());
    isPipe_ = S_ISFIFO(status.st_mode);
    if (isPipe_)
        widenPipe(fd);
}

std::optional<uint64_t> SkimSource::size() const
{
    if (!isFile_)
        return {};
    const int64_t now = ::lseek(fd_, 0, SEEK_CUR);
    const int64_t end = ::lseek(fd_, 0, SEEK_END);
    ::lseek(fd_, now, SEEK_SET);
    return end > base_ ? static_cast<uint64_t>(end - base_) : 0;
}

Result<void> SkimSource::settle()
{
    if (isFile_ && ::lseek(fd_, base_ + static_cast<int64_t>(offset()), SEEK_SET) < 0)
        return systemError(errno, tr("cannot read the stream"));
    return {};
}

Result<size_t> SkimSource::readAt(uint64_t offset, std::span<const iovec> parts) const
{
    const int count = static_cast<int>(std::min<size_t>(parts.size(), IOV_MAX));
    for (;;) {
        const ssize_t got = ::preadv(fd_, parts.data(), count, base_ + static_cast<int64_t>(offset));
        if (got >= 0)
            return static_cast<size_t>(got);
        if (errno != EINTR)
            return systemError(errno, tr("cannot read the stream"));
    }
}

Result<size_t> SkimSource::readSome(std::span<const iovec> parts)
{
    if (!start_.empty()) {
        const size_t count = std::min(parts[0].iov_len, start_.size());
        std::memcpy(parts[0].iov_base, start_.data(), count);
        start_.erase(start_.begin(), start_.begin() + static_cast<ptrdiff_t>(count));
        return count;
    }
    if (!isFile_)
        return FdSource::readSome(parts);
    const auto inWindow = [this] { return offset() >= windowOffset_ && offset() - windowOffset_ < windowLength_; };
    if (!inWindow()) {
        if (parts[0].iov_len >= windowSize)
            return readAt(offset(), parts);
        buffer_.resize(windowSize);
        const iovec window[] = {part(buffer_.data(), buffer_.size())};
        windowOffset_ = offset();
        windowLength_ = 0;
        windowLength_ = TRY(readAt(offset(), window));
        if (windowLength_ == 0)
            return size_t{0};
    }
    const size_t at = offset() - windowOffset_;
    const size_t count = std::min(parts[0].iov_len, windowLength_ - at);
    std::memcpy(parts[0].iov_base, buffer_.data() + at, count);
    return count;
}

Result<void> SkimSource::skip(uint64_t count)
{
    if (isFile_)
        return skipInFile(count);
    const size_t known = std::min<uint64_t>(count, start_.size());
    TRY(skipThroughBuffer(known));
    return isPipe_ ? skipInPipe(count - known) : skipThroughBuffer(count - known);
}

Result<void> SkimSource::skipInFile(uint64_t count)
{
    if (count > knownEnd_ - std::min(knownEnd_, offset()))
        knownEnd_ = size().value_or(0);   // it may have grown
    const uint64_t left = knownEnd_ - std::min(knownEnd_, offset());
    advance(std::min(count, left));
    if (count > left)
        return endsHere();
    return {};
}

Result<void> SkimSource::skipInPipe(uint64_t count)
{
    if (!nowhere_)
        nowhere_.reset(::open("/dev/null", O_WRONLY | O_CLOEXEC));
    while (count > 0) {
        const ssize_t moved = ::splice(fd_, nullptr, nowhere_.get(), nullptr, count, SPLICE_F_MOVE);
        if (moved > 0) {
            advance(static_cast<uint64_t>(moved));
            count -= static_cast<uint64_t>(moved);
        } else if (moved < 0 && errno == EAGAIN) {
            pollfd waiting{fd_, POLLIN, 0};
            ::poll(&waiting, 1, -1);
        } else if (moved == 0 || errno != EINTR) {
            break;   // the end, says the buffer's way, or no splice
        }
    }
    return skipThroughBuffer(count);
}

Result<void> SkimSource::skipThroughBuffer(uint64_t count)
{
    if (count > 0)
        buffer_.resize(wasteSize);
    while (count > 0) {
        const size_t some = std::min<uint64_t>(count, buffer_.size());
        TRY(read(std::span(buffer_).first(some)));
        count -= some;
    }
    return {};
}

} // namespace godwit::stream
