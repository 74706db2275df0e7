// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/page_cache.h"

#include "base/units.h"
#include "stream/file_io.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

namespace godwit::engine {

using namespace base;

namespace {

/// One page of it. A kernel that does not tell us says that it is.
bool isCached(int fd, uint64_t offset)
{
    const auto place = static_cast<off_t>(offset / pageSize * pageSize);
    void *const page = ::mmap(nullptr, pageSize, PROT_READ, MAP_SHARED, fd, place);
    if (page == MAP_FAILED)
        return true;
    unsigned char resident = 1;
    const bool told = ::mincore(page, pageSize, &resident) == 0;
    ::munmap(page, pageSize);
    return !told || resident & 1;
}

/// By a sample of the file's data from `begin` on, whose size does not depend on the file's.
bool isMostlyCached(int fd, uint64_t begin)
{
    constexpr unsigned samples = 64;
    struct stat status{};
    if (::fstat(fd, &status) < 0)
        return true;
    const auto end = static_cast<uint64_t>(status.st_size);
    unsigned looked = 0, cached = 0;
    for (unsigned i = 0; i < samples && begin < end; i++) {
        const uint64_t data = stream::nextData(fd, begin + (end - begin) / samples * i, end).begin;
        if (data >= end)
            break;
        looked++;
        cached += isCached(fd, data) ? 1 : 0;
    }
    return cached * 2 > looked;
}

bool goesDirectly(int fd, PageCache cache)
{
    return cache == PageCache::Bypass || (cache == PageCache::Spare && stream::takesDirectIo(fd));
}

Result<UniqueFd> openDirect(int fd, int access, PageCache cache)
{
    auto direct = stream::reopen(fd, access | O_DIRECT);
    if (!direct && cache != PageCache::Bypass)
        return UniqueFd();
    return direct;
}

} // namespace

Result<UniqueFd> openDirectWriter(int fd, PageCache cache)
{
    if (!goesDirectly(fd, cache))
        return UniqueFd();
    return openDirect(fd, O_WRONLY, cache);
}

Result<UniqueFd> openDirectReader(int fd, uint64_t begin, PageCache cache)
{
    // What is not aligned is read as ever.
    if (begin % pageSize != 0 || !goesDirectly(fd, cache))
        return UniqueFd();
    auto direct = TRY(openDirect(fd, O_RDONLY, cache));
    // Not `fd`, whose position is its owner's.
    if (cache == PageCache::Spare && direct && isMostlyCached(direct.get(), begin))
        return UniqueFd();
    return direct;
}

} // namespace godwit::engine
