// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stream/aligned.h"

#include "base/bytes.h"
#include "base/i18n.h"
#include "stream/libxc_writer.h"
#include "stream/libxl_stream.h"

#include <algorithm>

namespace godwit::stream {

using namespace base;
using libxc::PageType;

// Of one PAGE_DATA: record header, count and zeros.
static constexpr size_t fixedHead = recordHeaderSize + 8;
static constexpr size_t wordSize = sizeof(uint64_t);

// 4 PiB of guest memory; then no offset comes near 2^63, whatever the index.
static constexpr uint64_t maxPages = uint64_t{1} << 40;

Result<AlignedLayout> AlignedLayout::make(const AlignedIndex &index, std::span<const PageRun> memory)
{
    TRY(check(index));
    AlignedLayout out;
    out.index_ = index;
    uint64_t next = 0;
    for (const PageRun &run : memory) {
        if (run.first.value < next || run.pages == 0 || run.pages > maxPages - out.pages_
            || run.first.value >= libxc::pfnMask - run.pages)
            return makeError(ErrorCode::InvalidArgument, tr("an aligned image cannot hold such a guest's memory"));
        next = run.first.value + run.pages;
        out.runs_.push_back({run.first.value, run.pages, out.pages_, out.batches_});
        out.pages_ += run.pages;
        out.batches_ += (run.pages + index.batchPages - 1) / index.batchPages;
    }
    if (memory.empty())
        return makeError(ErrorCode::InvalidArgument, tr("an aligned image cannot hold such a guest's memory"));
    return out;
}

const AlignedLayout::Run *AlignedLayout::find(Pfn pfn) const
{
    const auto after = std::ranges::upper_bound(runs_, pfn.value, {}, &Run::firstPfn);
    if (after == runs_.begin() || pfn.value - std::prev(after)->firstPfn >= std::prev(after)->pages)
        return nullptr;
    return &*std::prev(after);
}

Batch AlignedLayout::batch(uint64_t number) const
{
    const Run &run = *std::prev(std::ranges::upper_bound(runs_, number, {}, &Run::batchesBefore));
    const uint64_t skipped = (number - run.batchesBefore) * index_.batchPages;
    Batch out;
    out.first = Pfn{run.firstPfn + skipped};
    out.pages = std::min<uint64_t>(index_.batchPages, run.pages - skipped);
    out.offset = index_.firstBatch + number * index_.headSize + (run.pagesBefore + skipped) * pageSize;
    out.dataOffset = out.offset + index_.headSize;
    return out;
}

std::optional<uint64_t> AlignedLayout::batchOf(Pfn pfn) const
{
    const Run *run = find(pfn);
    if (!run)
        return {};
    return run->batchesBefore + (pfn.value - run->firstPfn) / index_.batchPages;
}

std::optional<uint64_t> AlignedLayout::pageOffset(Pfn pfn) const
{
    const auto number = batchOf(pfn);
    if (!number)
        return {};
    const Batch home = batch(*number);
    return home.dataOffset + (pfn.value - home.first.value) * pageSize;
}

uint64_t AlignedLayout::end() const
{
    return index_.firstBatch + batches_ * index_.headSize + pages_ * pageSize;
}

uint64_t AlignedLayout::absentWord() const
{
    return libxc::encodePageWord({Pfn{runs_.back().firstPfn + runs_.back().pages}, PageType::Absent});
}

std::vector<std::byte> AlignedLayout::encodeHead(const Batch &batch) const
{
    const uint64_t words = (index_.headSize - fixedHead) / wordSize;
    Writer out;
    out.u32(static_cast<uint32_t>(libxc::RecordType::PageData));
    out.u32(static_cast<uint32_t>(index_.headSize - recordHeaderSize + batch.pages * pageSize));
    out.u32(static_cast<uint32_t>(words));
    out.zeros(4);
    const uint64_t absent = absentWord();
    for (uint64_t i = batch.pages; i < words; i++)
        out.u64(absent);
    for (uint64_t i = 0; i < batch.pages; i++)
        out.u64(libxc::encodePageWord({Pfn{batch.first.value + i}}));
    return out.take();
}

Result<void> AlignedLayout::writeStreamHead(Sink &sink, const libxc::DomainHeader &header) const
{
    TRY(libxl::writeHead(sink));
    TRY(libxc::writeHead(sink, header));
    const uint64_t padding = index_.firstBatch - sink.offset();
    const std::vector<uint64_t> words((padding - fixedHead) / wordSize, absentWord());
    std::vector<iovec> none;
    return libxc::writePages(sink, words, none);
}

} // namespace godwit::stream
