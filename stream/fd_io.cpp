// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stream/fd_io.h"

#include "base/i18n.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <fcntl.h>
#include <poll.h>

namespace godwit::stream {

using namespace base;

/// Drop the first `count` bytes; returns the parts that are left.
static std::span<iovec> dropFront(std::span<iovec> parts, size_t count)
{
    while (!parts.empty() && count >= parts[0].iov_len) {
        count -= parts[0].iov_len;
        parts = parts.subspan(1);
    }
    if (!parts.empty()) {
        parts[0].iov_base = static_cast<char *>(parts[0].iov_base) + count;
        parts[0].iov_len -= count;
    }
    return parts;
}

Error Source::endsHere() const
{
    return makeError(ErrorCode::BadFormat, tr("the stream ends at byte %llu"), static_cast<unsigned long long>(offset_));
}

Result<void> Source::read(std::span<iovec> parts)
{
    parts = dropFront(parts, 0);
    while (!parts.empty()) {
        const size_t count = TRY(readSome(parts));
        if (count == 0)
            return endsHere();
        offset_ += count;
        parts = dropFront(parts, count);
    }
    return {};
}

Result<void> Source::read(std::span<std::byte> into)
{
    iovec parts[] = {part(into.data(), into.size())};
    return read(parts);
}

static constexpr size_t appendStep = 256 * 1024;
// Room is taken at once, which moves nothing around; memory is what is written there.
static constexpr size_t mostRoom = 32 * 1024 * 1024;

Result<void> Source::append(std::vector<std::byte> &to, size_t count)
{
    if (TRY(appendUpTo(to, count)) < count)
        return endsHere();
    return {};
}

Result<size_t> Source::appendUpTo(std::vector<std::byte> &to, size_t count)
{
    const size_t before = to.size();
    to.reserve(before + std::min(count, mostRoom));
    while (to.size() - before < count) {
        const size_t had = to.size(), want = std::min(appendStep, before + count - had);
        to.resize(had + want);
        const size_t came = TRY(readUpTo(std::span(to).subspan(had)));
        to.resize(had + came);
        if (came < want)
            break;
    }
    return to.size() - before;
}

Result<size_t> Source::readUpTo(std::span<std::byte> into)
{
    size_t done = 0;
    while (done < into.size()) {
        const iovec parts[] = {part(into.data() + done, into.size() - done)};
        const size_t count = TRY(readSome(parts));
        if (count == 0)
            break;
        done += count;
        offset_ += count;
    }
    return done;
}

Result<void> Source::skip(uint64_t count)
{
    std::array<std::byte, 16384> scratch;
    while (count > 0) {
        const size_t some = std::min<uint64_t>(count, scratch.size());
        TRY(read(std::span(scratch).first(some)));
        count -= some;
    }
    return {};
}

Result<void> Sink::write(std::span<iovec> parts)
{
    parts = dropFront(parts, 0);
    while (!parts.empty()) {
        const size_t count = TRY(writeSome(parts));
        offset_ += count;
        parts = dropFront(parts, count);
    }
    return {};
}

Result<void> Sink::write(std::span<const std::byte> data)
{
    iovec parts[] = {part(data.data(), data.size())};
    return write(parts);
}

static void waitFor(int fd, short events)
{
    pollfd waiting{fd, events, 0};
    ::poll(&waiting, 1, -1);
}

static int countOf(std::span<const iovec> parts)
{
    return static_cast<int>(std::min<size_t>(parts.size(), IOV_MAX));
}

Result<size_t> FdSource::readSome(std::span<const iovec> parts)
{
    for (;;) {
        const ssize_t count = ::readv(fd_, parts.data(), countOf(parts));
        if (count >= 0)
            return static_cast<size_t>(count);
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            waitFor(fd_, POLLIN);
        else if (errno != EINTR)
            return systemError(errno, tr("cannot read the stream"));
    }
}

Result<size_t> FdSink::writeSome(std::span<const iovec> parts)
{
    for (;;) {
        const ssize_t count = ::writev(fd_, parts.data(), countOf(parts));
        if (count > 0)
            return static_cast<size_t>(count);
        if (count == 0)
            return systemError(ENOSPC, tr("cannot write the stream"));
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            waitFor(fd_, POLLOUT);
        else if (errno != EINTR)
            return systemError(errno, tr("cannot write the stream"));
    }
}

void widenPipe(int fd)
{
    constexpr int size = 1024 * 1024;   // what an ordinary user may have
    ::fcntl(fd, F_SETPIPE_SZ, size);
}

} // namespace godwit::stream
