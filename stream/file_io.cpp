// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stream/file_io.h"

#include "base/i18n.h"
#include "base/strprintf.h"
#include "base/units.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>

namespace godwit::stream {

using namespace base;

bool isRegularFile(int fd)
{
    struct stat status{};
    return ::fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

Result<UniqueFd> reopen(int fd, int flags)
{
    UniqueFd again(::open(strprintf("/proc/self/fd/%d", fd).c_str(), flags | O_CLOEXEC));
    if (!again && flags & O_DIRECT)
        return systemError(errno, tr("cannot access the image without the page cache"));
    if (!again)
        return systemError(errno, tr("cannot open the image again"));
    return again;
}

bool takesDirectIo(int fd)
{
    struct statx status{};
    if (::statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &status) < 0 || !(status.stx_mask & STATX_DIOALIGN))
        return false;
    const auto suits = [](uint64_t alignment) { return alignment > 0 && pageSize % alignment == 0; };
    return suits(status.stx_dio_mem_align) && suits(status.stx_dio_offset_align);
}

Result<void> writeAt(int fd, std::span<const std::byte> data, uint64_t offset)
{
    while (!data.empty()) {
        const ssize_t count = ::pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset));
        if (count == 0)
            return systemError(ENOSPC, "%s", tr("cannot write"));
        if (count < 0 && errno != EINTR)
            return systemError(errno, "%s", tr("cannot write"));
        const auto done = static_cast<size_t>(std::max<ssize_t>(count, 0));
        data = data.subspan(done);
        offset += done;
    }
    return {};
}

Result<size_t> readAt(int fd, std::span<std::byte> into, uint64_t offset)
{
    size_t done = 0;
    while (done < into.size()) {
        const ssize_t count = ::pread(fd, into.data() + done, into.size() - done, static_cast<off_t>(offset + done));
        if (count == 0)
            break;
        if (count < 0 && errno != EINTR)
            return systemError(errno, "%s", tr("cannot read"));
        done += static_cast<size_t>(std::max<ssize_t>(count, 0));
    }
    return done;
}

Extent nextData(int fd, uint64_t offset, uint64_t end)
{
    const off_t data = ::lseek(fd, static_cast<off_t>(offset), SEEK_DATA);
    if (data < 0)
        return errno == ENXIO ? Extent{end, end} : Extent{offset, end};
    if (static_cast<uint64_t>(data) >= end)
        return {end, end};
    const off_t hole = ::lseek(fd, data, SEEK_HOLE);
    return {static_cast<uint64_t>(data), hole < 0 ? end : std::min(end, static_cast<uint64_t>(hole))};
}

} // namespace godwit::stream
