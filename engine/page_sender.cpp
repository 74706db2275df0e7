// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/page_sender.h"

#include "engine/zero_page.h"

#include <array>
#include <cstring>

namespace godwit::engine {

using namespace base;
using stream::Stripe;
namespace libxc = stream::libxc;

alignas(pageSize) static constexpr std::array<std::byte, pageSize> zeroPage{};

static std::vector<stream::Sink *> allSinks(stream::Sink &first, std::vector<stream::Sink *> further)
{
    further.insert(further.begin(), &first);
    return further;
}

PageSender::PageSender(const MemoryMap &memory, stream::Sink &sink, const FurtherLanes<stream::Sink> &further,
                       Meter &meter)
    : memory_(memory), sinks_(allSinks(sink, further.streams)), interrupt_(further.interrupt), meter_(meter),
      sent_(memory.filePages())
{
}

/// One lane's part of a round.
class PageSender::Lane
{
public:
    Lane(PageSender &sender, const Round &round, Stripe stripe)
        : sender_(sender), round_(round), stripe_(stripe), sink_(*sender.sinks_[stripe.index])
    {
    }

    Result<void> send()
    {
        chooseRecordSize();
        for (const Region &region : sender_.memory_.regions())
            TRY(sendRegion(region));
        return flush();
    }

private:
    Result<void> sendRegion(const Region &region);
    Result<uint64_t> sendRun(Pfn pfn, uint64_t page, uint64_t end);
    void add(Pfn pfn, uint64_t page, const std::byte *content);
    void chooseRecordSize();
    Result<void> flush();

    PageSender &sender_;
    const Round &round_;
    const Stripe stripe_;
    stream::Sink &sink_;
    size_t recordPages_ = 0;
    std::vector<uint64_t> words_;     // the record being built
    std::vector<iovec> parts_;
    std::vector<std::byte> copies_;   // of its pages, and of those between them that are not sent
    size_t copied_ = 0;               // pages
    uint64_t passed_ = 0;             // pages gone through since the last record
    uint64_t constant_ = 0;
};

Result<void> PageSender::Lane::sendRegion(const Region &region)
{
    const PageSet &pages = round_.pages;
    const uint64_t end = region.firstPage + region.pages;
    for (uint64_t page = pages.next(region.firstPage); page < end; page = pages.next(page)) {
        const Pfn pfn{region.firstPfn.value + (page - region.firstPage)};
        if (!stripe_.has(pfn)) {
            page += Stripe::leftFrom(pfn);
            continue;
        }
        page = TRY(sendRun(pfn, page, end));
    }
    return {};
}

/// Send `page` and what of its neighbours can be read with it. Returns the page that follows.
Result<uint64_t> PageSender::Lane::sendRun(Pfn pfn, uint64_t page, uint64_t end)
{
    if (copied_ >= recordPages_ || words_.size() >= recordPages_)
        TRY(flush());
    const uint64_t left = std::min(end - page, Stripe::leftFrom(pfn));
    if (!round_.present.has(page)) {
        const uint64_t known = round_.pages.endWithout(round_.present, sender_.sent_, page, page + left);
        if (known == page)
            add(pfn, page, zeroPage.data());
        passed_ += known - page;
        constant_ += known - page;
        return std::max(page + 1, known);
    }
    const uint64_t most = std::min(left, recordPages_ - std::max(copied_, words_.size()));
    uint64_t count = 1;
    while (count < most && round_.pages.has(page + count) && round_.present.has(page + count))
        count++;
    copies_.resize(recordPages_ * pageSize);
    const auto copy = std::span(copies_).subspan(copied_ * pageSize, count * pageSize);
    TRY(sender_.memory_.read(page, copy));
    copied_ += count;
    for (uint64_t i = 0; i < count; i++)
        add(Pfn{pfn.value + i}, page + i, copy.data() + i * pageSize);
    return page + count;
}

/// Zeros are left out when the other side has them already.
void PageSender::Lane::add(Pfn pfn, uint64_t page, const std::byte *content)
{
    passed_++;
    const bool hole = content == zeroPage.data();
    if ((hole || isZeroPage(content)) && !sender_.sent_.hasShared(page)) {
        constant_++;
        return;
    }
    if (sender_.tracker_)
        sender_.tracker_->sent(page, content);
    sender_.sent_.addShared(page);
    words_.push_back(libxc::encodePageWord({pfn}));
    auto *last = parts_.empty() ? nullptr : &parts_.back();
    if (last && !hole && static_cast<std::byte *>(last->iov_base) + last->iov_len == content)
        last->iov_len += pageSize;
    else
        parts_.push_back(stream::part(content, pageSize));
}

/// What is copied shall still be in the processor's cache when it is sent. Many lanes make smaller
/// records, so that what they hold together stays within limits.
void PageSender::Lane::chooseRecordSize()
{
    constexpr uint64_t cached = 2 * stream::stripePages;
    const uint64_t most = std::clamp<uint64_t>(libxc::pagesPerRecord / stripe_.count, stream::stripePages, cached);
    const uint64_t portion = sender_.limiter_ ? sender_.limiter_->portion() : ~uint64_t{0};
    recordPages_ = std::clamp<uint64_t>(portion / pageSize, 1, most);
}

Result<void> PageSender::Lane::flush()
{
    const uint64_t before = sink_.offset();
    const uint64_t pages = words_.size();
    if (pages > 0)
        TRY(libxc::writePages(sink_, words_, parts_));
    words_.clear();
    parts_.clear();
    copied_ = 0;
    const uint64_t bytes = sink_.offset() - before;
    sender_.meter_.update([&](Statistics &statistics) {
        const uint64_t passed = passed_ * pageSize;
        statistics.memoryProcessed += passed;
        statistics.memoryRemaining -= std::min(passed, statistics.memoryRemaining);
        statistics.normalPages += pages;
        statistics.constantPages += constant_;
        statistics.streamBytes += bytes;
    });
    passed_ = 0;
    constant_ = 0;
    if (sender_.limiter_)
        sender_.limiter_->spend(bytes);
    chooseRecordSize();
    return {};
}

Result<void> PageSender::send(const PageSet &pages)
{
    allocated_ = TRY(memory_.allocatedPages());
    return send(Round{pages, TRY(memory_.presentAmong(pages))});
}

Result<void> PageSender::sendLast(PageSet &pages)
{
    // Looking for them costs more than all the rest, so it is done only where the file has become
    // smaller. A guest that took as many new pages meanwhile hides it: what it has given back may
    // hold anything until it writes there.
    if (TRY(memory_.allocatedPages()) >= allocated_)
        return send(Round{pages, TRY(memory_.presentAmong(pages))});
    PageSet present = TRY(memory_.presentPages());
    pages.addDifference(sent_, present);
    return send(Round{pages, std::move(present)});
}

Result<void> PageSender::send(const Round &round)
{
    meter_.update([&](Statistics &statistics) { statistics.memoryRemaining = round.pages.count() * pageSize; });
    return runLanes(sinks_.size(), [&](size_t index) { return Lane(*this, round, {index, sinks_.size()}).send(); },
                    interrupt_);
}

Result<void> PageSender::end()
{
    for (size_t index = 1; index < sinks_.size(); index++)
        TRY(libxc::writeEnd(*sinks_[index]));
    return {};
}

uint64_t PageSender::offset() const
{
    uint64_t bytes = 0;
    for (const stream::Sink *sink : sinks_)
        bytes += sink->offset();
    return bytes;
}

} // namespace godwit::engine
