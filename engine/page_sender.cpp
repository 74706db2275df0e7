// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/page_sender.h"

#include "engine/zero_page.h"

#include <array>
#include <cstring>

namespace godwit::engine {

using namespace base;
namespace libxc = stream::libxc;

alignas(pageSize) static constexpr std::array<std::byte, pageSize> zeroPage{};

Result<void> PageSender::addPunched(PageSet &pages) const
{
    const PageSet present = TRY(memory_.presentPages());
    for (uint64_t page = sent_.next(0); page < sent_.size(); page = sent_.next(page + 1))
        if (!present.has(page))
            pages.add(page);
    return {};
}

Result<void> PageSender::send(const PageSet &pages)
{
    const PageSet present = TRY(memory_.presentPages());
    meter_.update([&](Statistics &statistics) { statistics.memoryRemaining = pages.count() * pageSize; });
    chooseRecordSize();
    for (const Region &region : memory_.regions())
        TRY(sendRegion(region, pages, present));
    return flush();
}

Result<void> PageSender::sendRegion(const Region &region, const PageSet &pages, const PageSet &present)
{
    const uint64_t end = region.firstPage + region.pages;
    for (uint64_t page = pages.next(region.firstPage); page < end; page = pages.next(page + 1)) {
        passed_++;
        const std::byte *content = take(page, present.has(page));
        if (!content) {
            constant_++;
            continue;
        }
        sent_.add(page);
        words_.push_back(libxc::encodePageWord({Pfn{region.firstPfn.value + (page - region.firstPage)}}));
        auto *last = parts_.empty() ? nullptr : &parts_.back();
        if (last && static_cast<std::byte *>(last->iov_base) + last->iov_len == content)
            last->iov_len += pageSize;
        else
            parts_.push_back(stream::part(content, pageSize));
        if (words_.size() >= recordPages_)
            TRY(flush());
    }
    return {};
}

/// What to send for a page; null when the other side has it already, all zeros.
const std::byte *PageSender::take(uint64_t page, bool present)
{
    if (!present) {
        if (!sent_.has(page))
            return nullptr;
        if (tracker_)
            tracker_->sent(page, zeroPage.data());
        return zeroPage.data();
    }
    const std::byte *content = memory_.page(page);
    if (tracker_ && tracker_->wantsContent()) {
        copies_.resize(libxc::pagesPerRecord * pageSize);
        std::byte *copy = copies_.data() + words_.size() * pageSize;
        std::memcpy(copy, content, pageSize);
        content = copy;
    }
    if (isZeroPage(content) && !sent_.has(page))
        return nullptr;
    if (tracker_)
        tracker_->sent(page, content);
    return content;
}

void PageSender::chooseRecordSize()
{
    const uint64_t portion = limiter_ ? limiter_->portion() : ~uint64_t{0};
    recordPages_ = std::clamp<uint64_t>(portion / pageSize, 1, libxc::pagesPerRecord);
}

Result<void> PageSender::flush()
{
    const uint64_t before = sink_.offset();
    const uint64_t pages = words_.size();
    if (pages > 0)
        TRY(libxc::writePages(sink_, words_, parts_));
    words_.clear();
    parts_.clear();
    const uint64_t bytes = sink_.offset() - before;
    meter_.update([&](Statistics &statistics) {
        const uint64_t passed = passed_ * pageSize;
        statistics.memoryProcessed += passed;
        statistics.memoryRemaining -= std::min(passed, statistics.memoryRemaining);
        statistics.normalPages += pages;
        statistics.constantPages += constant_;
        statistics.streamBytes = sink_.offset();
    });
    passed_ = 0;
    constant_ = 0;
    if (limiter_)
        limiter_->spend(bytes);
    chooseRecordSize();
    return {};
}

} // namespace godwit::engine
