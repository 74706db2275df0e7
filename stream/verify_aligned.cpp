// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stream/verify_aligned.h"

#include "base/i18n.h"
#include "base/strprintf.h"

namespace godwit::stream {

using namespace base;
using libxc::PageType;

using Number = unsigned long long;

AlignedVerifier::AlignedVerifier(Findings &findings, const AlignedIndex &index, uint64_t begin)
    : findings_(findings), index_(index), expected_(begin + index.firstBatch)
{
}

void AlignedVerifier::error(const RecordAt &record, std::string message)
{
    if (!reported_)
        findings_.error(record, std::move(message));
    reported_ = true;
}

void AlignedVerifier::record(const RecordAt &record)
{
    pages_ = 0;
    reported_ = false;
    if (!record.is(libxc::RecordType::End))
        return;
    if (!seen_)
        error(record, tr("comes without a batch of the image's index before it"));
    else if (filler_ && filler_->value != next_)
        error(record, strprintf(tr("comes after batches whose absent pages are 0x%llx, the guest's last one is 0x%llx"),
                                Number{filler_->value}, Number{next_ - 1}));
}

void AlignedVerifier::pages(const RecordAt &record, std::span<const PageAt> pages)
{
    for (const PageAt &page : pages) {
        if (page.word.type == PageType::Absent)
            absent(record, page);
        else
            present(record, page);
    }
}

void AlignedVerifier::absent(const RecordAt &record, const PageAt &page)
{
    if (pages_ > 0)
        error(record, tr("has an absent page behind the first one that is present"));
    if (filler_ && *filler_ != page.word.pfn)
        error(record, strprintf(tr("has 0x%llx as an absent page, others have 0x%llx"), Number{page.word.pfn.value},
                                Number{filler_->value}));
    filler_ = page.word.pfn;
}

void AlignedVerifier::present(const RecordAt &record, const PageAt &page)
{
    const uint64_t pfn = page.word.pfn.value;
    if (pages_ == 0) {
        if (record.offset != expected_)
            error(record, strprintf(tr("stands where the image's index has no batch: that is at byte %llu"), Number{expected_}));
        if (page.offset != record.offset + index_.headSize)
            error(record, strprintf(tr("has a head of %llu bytes, the image's index says %u"),
                                    Number{page.offset - record.offset}, index_.headSize));
        if (seen_ && pfn < next_)
            error(record, strprintf(tr("begins with page 0x%llx, behind page 0x%llx"), Number{pfn}, Number{next_ - 1}));
    } else if (pfn != next_) {
        error(record, strprintf(tr("has page 0x%llx behind page 0x%llx in a batch"), Number{pfn}, Number{next_ - 1}));
    }
    if (page.word.type != PageType::Normal)
        error(record, tr("has a page of another type than normal in a batch"));
    if (++pages_ > index_.batchPages)
        error(record, strprintf(tr("has more pages than a batch of the image's index, which has %u"), index_.batchPages));
    seen_ = true;
    next_ = pfn + 1;
    expected_ = page.offset + pageSize;
}

} // namespace godwit::stream
