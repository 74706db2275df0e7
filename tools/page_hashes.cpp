// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tools/page_hashes.h"

#include "base/i18n.h"
#include "stream/temporary_file.h"

#include <algorithm>
#include <cerrno>
#include <limits>
#include <unistd.h>
#include <vector>

namespace godwit::tools {

using namespace base;

static constexpr size_t hashesAtOnce = 4096;
static constexpr uint64_t mostHashes = static_cast<uint64_t>(std::numeric_limits<off_t>::max()) / sizeof(Hash);

static off_t offsetOf(uint64_t pfn)
{
    return static_cast<off_t>(pfn * sizeof(Hash));
}

Result<PageHashes> PageHashes::create()
{
    return PageHashes(TRY(stream::openTemporaryFile()));
}

Result<void> PageHashes::put(uint64_t first, std::span<const Hash> hashes)
{
    const bool empty = std::ranges::all_of(hashes, [](const Hash &hash) { return hash == Hash{}; });
    if (empty && next(first) >= first + hashes.size())
        return {};   // a hole it is, and a hole it stays
    if (first >= mostHashes - hashes.size())
        return makeError(ErrorCode::BadFormat, tr("page 0x%llx has no place in a file"), static_cast<unsigned long long>(first));
    end_ = std::max(end_, first + hashes.size());
    auto raw = std::as_bytes(hashes);
    for (off_t at = offsetOf(first); !raw.empty();) {
        const ssize_t count = ::pwrite(file_.get(), raw.data(), raw.size(), at);
        if (count < 0 && errno != EINTR)
            return systemError(errno, "%s", tr("cannot write to a temporary file"));
        raw = raw.subspan(static_cast<size_t>(std::max<ssize_t>(count, 0)));
        at += std::max<ssize_t>(count, 0);
    }
    return {};
}

uint64_t PageHashes::next(uint64_t pfn) const
{
    if (pfn >= end_)
        return mostHashes;
    const off_t data = ::lseek(file_.get(), offsetOf(pfn), SEEK_DATA);
    if (data < 0)
        return errno == ENXIO ? mostHashes : pfn;
    return std::max(pfn, static_cast<uint64_t>(data) / sizeof(Hash));
}

Result<void> PageHashes::read(uint64_t first, std::span<Hash> into) const
{
    auto raw = std::as_writable_bytes(into);
    for (off_t at = offsetOf(first); !raw.empty();) {
        const ssize_t count = ::pread(file_.get(), raw.data(), raw.size(), at);
        if (count < 0 && errno != EINTR)
            return systemError(errno, "%s", tr("cannot read from a temporary file"));
        if (count == 0) {
            std::ranges::fill(raw, std::byte{});
            break;
        }
        raw = raw.subspan(static_cast<size_t>(std::max<ssize_t>(count, 0)));
        at += std::max<ssize_t>(count, 0);
    }
    return {};
}

Result<void> compareHashes(const PageHashes &before, const PageHashes &after, const std::function<void(PageRange)> &differs)
{
    std::vector<Hash> old(hashesAtOnce), now(hashesAtOnce);
    const uint64_t end = std::max(before.end_, after.end_);
    PageRange range;
    for (uint64_t at = 0; (at = std::min(before.next(at), after.next(at))) < end; at += hashesAtOnce) {
        TRY(before.read(at, old));
        TRY(after.read(at, now));
        for (size_t i = 0; i < hashesAtOnce; i++) {
            if (old[i] == now[i])
                continue;
            const uint64_t pfn = at + i;
            if (range.end != pfn && range.end > range.first)
                differs(range);
            if (range.end != pfn)
                range.first = pfn;
            range.end = pfn + 1;
        }
    }
    if (range.end > range.first)
        differs(range);
    return {};
}

} // namespace godwit::tools
