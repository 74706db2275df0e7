// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tools/page_hashes.h"

#include "base/i18n.h"
#include "stream/file_io.h"
#include "stream/temporary_file.h"

#include <algorithm>
#include <limits>
#include <vector>

namespace godwit::tools {

using namespace base;

static constexpr size_t hashesAtOnce = 4096;
static constexpr uint64_t mostHashes = static_cast<uint64_t>(std::numeric_limits<off_t>::max()) / sizeof(Hash);

static uint64_t offsetOf(uint64_t pfn)
{
    return pfn * sizeof(Hash);
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
    TRY_IN(tr("temporary file"), stream::writeAt(file_.get(), std::as_bytes(hashes), offsetOf(first)));
    return {};
}

uint64_t PageHashes::next(uint64_t pfn) const
{
    if (pfn >= end_)
        return mostHashes;
    const stream::Extent data = stream::nextData(file_.get(), offsetOf(pfn), offsetOf(mostHashes));
    return std::max(pfn, data.begin / sizeof(Hash));
}

Result<void> PageHashes::read(uint64_t first, std::span<Hash> into) const
{
    const auto raw = std::as_writable_bytes(into);
    const size_t count = TRY_IN(tr("temporary file"), stream::readAt(file_.get(), raw, offsetOf(first)));
    std::ranges::fill(raw.subspan(count), std::byte{});
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
