// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stream/convert_copy.h"

#include "base/i18n.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace godwit::stream {

using namespace base;

static constexpr size_t bufferSize = 256 * 1024;   // stays in the processor's cache

// From file to file. What is read is hardly ever aligned to blocks where it is written, and
// then copy_file_range() takes twice as long as one write() of what is mapped. The pages are
// the page cache's, so that a large window takes no memory from anybody.
static constexpr uint64_t mappingSize = 8 * 1024 * 1024;
static constexpr uint64_t mappedWrite = 1024 * 1024;   // more makes the page cache look for larger pieces than it has

std::span<const std::byte> FileWindow::at(int fd, uint64_t offset)
{
    // Behind the end, the mapping goes on with zeros up to the end of the page.
    struct stat status{};
    if (::fstat(fd, &status) < 0 || static_cast<uint64_t>(status.st_size) <= offset)
        return {};
    const uint64_t start = offset / mappingSize * mappingSize;
    if (!address_ || start != start_) {
        unmap();
        void *const address = ::mmap(nullptr, mappingSize, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, static_cast<off_t>(start));
        if (address == MAP_FAILED)
            return {};
        address_ = address;
        start_ = start;
        ::posix_fadvise(fd, static_cast<off_t>(start + mappingSize), mappingSize, POSIX_FADV_WILLNEED);
    }
    const uint64_t end = std::min(start + mappingSize, static_cast<uint64_t>(status.st_size));
    return std::span(static_cast<const std::byte *>(address_), end - start).subspan(offset - start);
}

void FileWindow::unmap()
{
    if (address_)
        ::munmap(address_, mappingSize);
    address_ = nullptr;
}

static mode_t kindOf(int fd)
{
    struct stat status{};
    return fd >= 0 && ::fstat(fd, &status) == 0 ? status.st_mode & S_IFMT : 0;
}

Copier::Copier(Source &source, Sink &sink) : source_(source), sink_(sink)
{
    const int in = source.directFd(), out = sink.directFd();
    const mode_t from = kindOf(in), to = kindOf(out);
    if (from == 0 || to == 0)
        return;
    if (from == S_IFREG && to == S_IFREG)
        way_ = Way::Mapped;
    else if (from == S_IFIFO || to == S_IFIFO)
        way_ = Way::Splice;
    for (const int pipe : {from == S_IFIFO ? in : -1, to == S_IFIFO ? out : -1})
        if (pipe >= 0)
            widenPipe(pipe);
    int ends[2];
    if (from != S_IFIFO || to != S_IFREG || ::pipe2(ends, O_CLOEXEC) != 0)
        return;
    between_[0].reset(ends[0]);
    between_[1].reset(ends[1]);
    widenPipe(ends[1]);
    way_ = Way::Relay;
}

Result<void> Copier::copy(Source &source, uint64_t length)
{
    const bool direct = &source == &source_;
    while (direct && way_ != Way::Buffer && length > 0) {
        const uint64_t count = TRY(way_ == Way::Relay ? relay(length) : moveSome(length));
        if (count == 0)
            way_ = Way::Buffer;
        length -= count;
    }
    return copyThroughBuffer(source, length);
}

/// Either end of a move may be the one that blocks: wait for both, one after the other.
static void waitForBoth(int in, int out)
{
    pollfd reading{in, POLLIN, 0}, writing{out, POLLOUT, 0};
    ::poll(&reading, 1, -1);
    ::poll(&writing, 1, -1);
}

/// Until `move` moves something; 0: it cannot, or there is nothing more.
template <typename Move>
static Result<uint64_t> moving(int in, int out, Move move)
{
    for (;;) {
        const ssize_t count = move();
        if (count > 0)
            return static_cast<uint64_t>(count);
        if (count == 0)
            return 0;   // the end, says the buffer's way, or a file that this way reads as empty
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            waitForBoth(in, out);
        else if (errno == EPIPE || errno == ENOSPC || errno == EFBIG || errno == EDQUOT)
            return systemError(errno, tr("cannot write the stream"));
        else if (errno == EIO)
            return systemError(errno, tr("cannot copy the stream"));
        else if (errno != EINTR)
            return 0;   // not between these two
    }
}

static Result<uint64_t> splicing(int in, int out, uint64_t length)
{
    return moving(in, out, [&] { return ::splice(in, nullptr, out, nullptr, length, SPLICE_F_MOVE | SPLICE_F_MORE); });
}

Result<uint64_t> Copier::moveSome(uint64_t length)
{
    const int in = source_.directFd(), out = sink_.directFd();
    const uint64_t count = TRY(way_ == Way::Mapped ? moving(in, out, [&] { return writeMapped(in, out, length); })
                                                   : splicing(in, out, length));
    source_.advance(count);
    sink_.advance(count);
    return count;
}

Result<uint64_t> Copier::relay(uint64_t length)
{
    const uint64_t count = TRY(splicing(source_.directFd(), between_[1].get(), length));
    source_.advance(count);
    for (uint64_t left = count; left > 0;) {
        const uint64_t moved = TRY(splicing(between_[0].get(), sink_.directFd(), left));
        sink_.advance(moved);
        left -= moved;
        if (moved == 0) {   // what is in there already goes the other way, and all that follows
            FdSource rest(between_[0].get());
            TRY(copyThroughBuffer(rest, left));
            way_ = Way::Buffer;
            break;
        }
    }
    return count;
}

/// As splice(): both files' positions move on; 0 or EFAULT: the file ends before.
ssize_t Copier::writeMapped(int in, int out, uint64_t length)
{
    const off_t at = ::lseek(in, 0, SEEK_CUR);
    if (at < 0)
        return -1;
    const auto bytes = window_.at(in, static_cast<uint64_t>(at));
    const ssize_t count = ::write(out, bytes.data(), std::min<uint64_t>({length, bytes.size(), mappedWrite}));
    if (count > 0)
        ::lseek(in, count, SEEK_CUR);
    return count;
}

std::span<std::byte> Copier::bufferOf(uint64_t length)
{
    if (buffer_.empty())
        buffer_.resize(bufferSize);
    return std::span(buffer_).first(std::min<uint64_t>(length, buffer_.size()));
}

Result<void> Copier::copyThroughBuffer(Source &source, uint64_t length)
{
    while (length > 0) {
        const auto some = bufferOf(length);
        TRY(source.read(some));
        TRY(sink_.write(some));
        length -= some.size();
    }
    return {};
}

Result<uint64_t> Copier::copySome(uint64_t length)
{
    for (; way_ != Way::Buffer; way_ = Way::Buffer) {
        const uint64_t count = TRY(way_ == Way::Relay ? relay(length) : moveSome(length));
        if (count > 0)
            return count;
    }
    const auto some = bufferOf(length);
    const size_t count = TRY(source_.readUpTo(some));
    TRY(sink_.write(some.first(count)));
    return count;
}

} // namespace godwit::stream
