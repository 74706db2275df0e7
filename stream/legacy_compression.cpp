// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stream/legacy_compression.h"

#include "base/i18n.h"
#include "stream/temporary_file.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

namespace godwit::stream::legacy {

using namespace base;

// A slot of the file: a word that tells it from a hole, and the page.
static constexpr uint64_t present = 1;
static constexpr size_t slotSize = sizeof present + pageSize;

static constexpr uint8_t unchangedPage = 0x00;
static constexpr uint8_t wholePage = 0x80;
static constexpr uint8_t unchangedRun = 0x80;
static constexpr size_t wordSize = 4;

static off_t slotOf(Pfn pfn)
{
    return static_cast<off_t>(pfn.value * slotSize);
}

Result<void> PageStore::put(Pfn pfn, Page page)
{
    if (!file_)
        file_ = TRY(openTemporaryFile(folder_));
    const iovec parts[] = {part(&present, sizeof present), part(page.data(), page.size())};
    // An unlinked regular file takes all or has no space.
    if (::pwritev(file_.get(), parts, 2, slotOf(pfn)) != static_cast<ssize_t>(slotSize))
        return systemError(errno ? errno : ENOSPC, tr("cannot write the temporary file"));
    return {};
}

Result<void> PageStore::get(Pfn pfn, Page page) const
{
    uint64_t mark = 0;
    const iovec parts[] = {part(&mark, sizeof mark), part(page.data(), page.size())};
    const ssize_t count = file_ ? ::preadv(file_.get(), parts, 2, slotOf(pfn)) : 0;
    if (count < 0)
        return systemError(errno, tr("cannot read the temporary file"));
    if (count != static_cast<ssize_t>(slotSize) || mark != present)
        return makeError(ErrorCode::BadFormat, tr("page 0x%llx changes what was never sent"),
                         static_cast<unsigned long long>(pfn.value));
    return {};
}

Result<void> CompressedChunk::read(std::span<std::byte> into)
{
    while (!into.empty()) {
        if (window_.empty()) {
            if (left_ == 0)
                return makeError(ErrorCode::BadFormat, tr("ends inside a page"));
            const auto next = std::span(buffer_).first(std::min<uint64_t>(left_, buffer_.size()));
            TRY(source_.read(next));
            left_ -= next.size();
            window_ = next;
        }
        const size_t count = std::min(into.size(), window_.size());
        std::memcpy(into.data(), window_.data(), count);
        into = into.subspan(count);
        window_ = window_.subspan(count);
    }
    return {};
}

Result<uint8_t> CompressedChunk::readByte()
{
    std::byte byte;
    TRY(read(std::span(&byte, 1)));
    return std::to_integer<uint8_t>(byte);
}

Result<void> CompressedChunk::readRuns(uint8_t first, Page page)
{
    size_t at = 0;
    for (uint8_t head = first;; head = TRY(readByte())) {
        const size_t length = (head & 0x7f) * wordSize;
        if (length == 0 || length > page.size() - at)
            return makeError(ErrorCode::BadFormat, tr("has a run of %zu bytes at byte %zu of a page"), length, at);
        if (!(head & unchangedRun))
            TRY(read(page.subspan(at, length)));
        at += length;
        if (at == page.size())
            return {};
    }
}

Result<void> CompressedChunk::readPage(PageStore &store, Pfn pfn, Page page)
{
    const uint8_t first = TRY(readByte());
    if (first == wholePage) {
        TRY(read(page));
        return store.put(pfn, page);
    }
    TRY(store.get(pfn, page));
    if (first == unchangedPage)
        return {};
    TRY(readRuns(first, page));
    return store.put(pfn, page);
}

} // namespace godwit::stream::legacy
