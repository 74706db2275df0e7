// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tools/memory_file.h"

#include "base/i18n.h"
#include "stream/file_io.h"
#include "tools/pages.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <limits>

namespace godwit::tools {

using namespace base;
using namespace stream;

static constexpr uint64_t mostPages = static_cast<uint64_t>(std::numeric_limits<off_t>::max()) / pageSize;

Result<MemoryFile> MemoryFile::on(const Output &output)
{
    if (!output.isFile())
        return makeError(ErrorCode::InvalidArgument, tr("memory goes to a regular file, not to %s"), output.name().c_str());
    return MemoryFile(output);
}

Result<void> MemoryFile::note(std::span<const libxc::PageWord> words)
{
    for (const libxc::PageWord &word : words) {
        const uint64_t pfn = word.pfn.value;
        if (pfn >= mostPages)
            return makeError(ErrorCode::BadFormat, tr("page 0x%llx has no place in a file"),
                             static_cast<unsigned long long>(pfn));
        if (!hasData(word.type))
            TRY(clear(pfn, 1));
        if (hasData(word.type) || word.type == libxc::PageType::AllocOnly)
            end_ = std::max(end_, pfn + 1);
    }
    return {};
}

Result<void> MemoryFile::write(std::span<const libxc::PageWord> words, Source &data)
{
    buffer_.resize(pagesAtOnce * pageSize);
    while (!words.empty()) {
        const auto some = words.first(std::min<size_t>(words.size(), pagesAtOnce));
        const auto pages = std::span(buffer_).first(some.size() * pageSize);
        TRY(data.read(pages));
        for (size_t begin = 0, end; begin < some.size(); begin = end) {
            const uint64_t first = some[begin].pfn.value;
            const bool zero = isZeroPage(pages.subspan(begin * pageSize, pageSize));
            for (end = begin + 1; end < some.size() && some[end].pfn.value == first + (end - begin); end++)
                if (isZeroPage(pages.subspan(end * pageSize, pageSize)) != zero)
                    break;
            if (zero)
                TRY(clear(first, end - begin));
            else
                TRY(writeRun(first, pages.subspan(begin * pageSize, (end - begin) * pageSize)));
        }
        words = words.subspan(some.size());
    }
    return {};
}

Result<void> MemoryFile::writeRun(uint64_t first, std::span<const std::byte> data)
{
    writtenEnd_ = std::max(writtenEnd_, first + data.size() / pageSize);
    TRY_IN(output_.name(), writeAt(output_.fd(), data, first * pageSize));
    return {};
}

Result<void> MemoryFile::clear(uint64_t first, uint64_t count)
{
    count = std::min(count, writtenEnd_ - std::min(first, writtenEnd_));
    if (count == 0)
        return {};
    if (::fallocate(output_.fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(first * pageSize),
                    static_cast<off_t>(count * pageSize)) == 0)
        return {};
    // Not every filesystem can.
    const std::vector<std::byte> zeros(count * pageSize);
    return writeRun(first, zeros);
}

Result<void> MemoryFile::finish()
{
    if (::ftruncate(output_.fd(), static_cast<off_t>(end_ * pageSize)) < 0)
        return systemError(errno, tr("cannot write %s"), output_.name().c_str());
    return {};
}

} // namespace godwit::tools
