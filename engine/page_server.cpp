// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/page_server.h"

#include "base/i18n.h"
#include "base/log.h"
#include "engine/workers.h"
#include "engine/zero_page.h"
#include "stream/file_io.h"

#include <array>
#include <cerrno>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace godwit::engine {

using namespace base;

static constexpr uint64_t runPages = 128;      // one worker's helping
static constexpr uint64_t nearbyPages = 16;    // read with a touched page: it is likely to be next
static constexpr unsigned faultThreads = 2;
static constexpr int endPatienceMs = 30'000;   // for a process whose memory is gone already

/// What a fault thread reads into; aligned for direct I/O.
struct PageServer::Buffer {
    std::unique_ptr<std::byte, decltype(&std::free)> bytes{
        static_cast<std::byte *>(std::aligned_alloc(pageSize, nearbyPages * pageSize)), &std::free};
    std::span<std::byte> first(uint64_t pages) const { return {bytes.get(), pages * pageSize}; }
};

PageServer::PageServer(const MemoryMap &memory, PagedImage &image, pid_t guest, int faults, PageServerHost &host,
                       Meter &meter)
    : memory_(memory), image_(image), guest_(guest), faults_(faults), host_(host), meter_(meter)
{
}

PageServer::~PageServer()
{
    endThreads();
}

void PageServer::endThreads()
{
    if (stop_)
        ::eventfd_write(stop_.get(), 1);
    for (std::thread &thread : threads_)
        thread.join();
    threads_.clear();
}

Result<void> PageServer::start()
{
    const auto mappings = TRY(findGuestMappings(guest_, memory_.fd()));
    // Through a second mapping the guest would see zeros where pages are missing.
    if (mappings.size() != 1 || mappings[0].firstPage != 0 || mappings[0].pages != memory_.filePages())
        return makeError(ErrorCode::Unsupported, tr("the guest does not map its memory in one piece"));
    mapping_ = mappings[0];
    process_.reset(static_cast<int>(::syscall(SYS_pidfd_open, guest_, 0)));
    stop_.reset(::eventfd(0, EFD_CLOEXEC));
    retry_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!process_ || !stop_ || !retry_)
        return systemError(errno, tr("cannot watch process %d"), guest_);
    for (unsigned i = 0; i < faultThreads; i++)
        threads_.emplace_back([this] { serve(); });
    // Who was waiting for a server that is no more touches its page again.
    wake(0, memory_.filePages());
    return {};
}

// ---- who touches a missing page ----------------------------------------------------------

void PageServer::serve()
{
    Buffer buffer;
    enum { Stop, Guest, Retry, Faults };
    for (;;) {
        std::array<pollfd, 4> waiting{pollfd{stop_.get(), POLLIN, 0}, pollfd{process_.get(), POLLIN, 0},
                                      pollfd{retry_.get(), POLLIN, 0}, pollfd{faults_, POLLIN, 0}};
        if (::poll(waiting.data(), waiting.size(), -1) < 0 && errno != EINTR)
            return guestIsGone();
        if (waiting[Stop].revents)
            return;
        if (waiting[Guest].revents)
            return guestIsGone();
        if (waiting[Retry].revents)
            takeRetry(buffer);
        if (waiting[Faults].revents)
            takeFaults(buffer);
    }
}

void PageServer::takeFaults(Buffer &buffer)
{
    uffd_msg message;
    // One at a time: what this thread holds no other one can answer.
    if (::read(faults_, &message, sizeof message) != sizeof message)
        return;
    // Nobody of ours asks for these, but who has got hold of QEMU may.
    if (message.event == UFFD_EVENT_FORK)
        ::close(static_cast<int>(message.arg.fork.ufd));
    if (message.event != UFFD_EVENT_PAGEFAULT)
        return;
    const uint64_t address = message.arg.pagefault.address;
    if (address >= mapping_.address && (address - mapping_.address) / pageSize < mapping_.pages)
        answer((address - mapping_.address) / pageSize, buffer);
}

void PageServer::answer(uint64_t page, Buffer &buffer)
{
    for (;;) {
        const uint64_t attempt = this->attempt();
        const auto brought = bringTouched(page, buffer);
        if (brought || report(attempt, page, brought.error(), /* touched= */ true))
            return;
    }
}

Result<void> PageServer::bringTouched(uint64_t page, Buffer &buffer)
{
    if (!buffer.bytes)
        return systemError(ENOMEM, "aligned_alloc");
    const auto place = image_.find(page);
    const uint64_t pages = place ? std::min(place->pages, nearbyPages) : 1;
    const auto data = buffer.first(pages);
    if (place)
        TRY(image_.read(*place, data));
    else
        std::ranges::fill(data, std::byte{});
    TRY(put(page, data.first(pageSize)));
    return putContent(page + 1, data.subspan(pageSize));
}

// ---- the background -------------------------------------------------------------------------

Result<void> PageServer::fillAll(unsigned threads)
{
    // Two at least: the guest runs beside them, and wants its share of the processors.
    if (threads == 0)
        threads = image_.isDirect() ? directThreads : std::max(2U, workerCount());
    Workers<Run> workers([this](const Run &run, std::span<std::byte> scratch) { return bringRun(run, scratch); }, threads);
    const auto push = [&](const Run &run) { return workers.push(run); };
    for (const Region &region : memory_.regions()) {
        const uint64_t end = region.firstPage + region.pages;
        for (uint64_t page = region.firstPage; page < end;) {
            const auto place = image_.find(page);
            if (!place)
                return makeError(ErrorCode::Internal, "a page has no place");
            const uint64_t pages = std::min(place->pages, runPages);
            TRY(handOut(page, pages, push));
            page += pages;
        }
    }
    return workers.drain();
}

/// Without what are holes in the file, of a file that is what it was.
Result<void> PageServer::handOut(uint64_t page, uint64_t pages, const std::function<Result<void>(Run)> &push)
{
    for (;;) {
        const uint64_t attempt = this->attempt();
        const auto found = findData(page, pages);
        if (!found) {
            data_ = {};
            TRY(waitForRetry(attempt, page, found.error()));
            continue;
        }
        uint64_t withData = 0;
        for (const Run &run : *found) {
            withData += run.pages;
            TRY(push(run));
        }
        meter_.update([&](Statistics &statistics) {
            const uint64_t holes = (pages - withData) * pageSize;
            statistics.memoryProcessed += holes;
            statistics.memoryRemaining -= std::min(holes, statistics.memoryRemaining);
            statistics.constantPages += pages - withData;
        });
        return {};
    }
}

Result<std::vector<PageServer::Run>> PageServer::findData(uint64_t page, uint64_t pages)
{
    const uint64_t begin = image_.find(page)->offset, end = begin + pages * pageSize;
    std::vector<Run> runs;
    for (uint64_t at = begin; at < end;) {
        if (at >= data_.end) {
            const stream::Extent next = stream::nextData(image_.fd(), at, uint64_t{1} << 62);
            data_ = {next.begin, next.end};
        }
        const uint64_t from = std::max(at, data_.begin), to = std::min(end, data_.end);
        if (from >= end)
            break;
        const uint64_t first = (from - begin) / pageSize, last = (to - begin + pageSize - 1) / pageSize;
        runs.push_back({page + first, last - first});
        at = std::max(to, begin + last * pageSize);
    }
    // A file that was cut off looks like one that ends in a hole.
    TRY(image_.checkUnchanged());
    return runs;
}

Result<void> PageServer::bringRun(const Run &run, std::span<std::byte> scratch)
{
    for (;;) {
        const uint64_t attempt = this->attempt();
        const auto done = tryRun(run, scratch);
        if (done)
            return {};
        TRY(waitForRetry(attempt, run.page, done.error()));
    }
}

Result<void> PageServer::tryRun(const Run &run, std::span<std::byte> scratch)
{
    const auto place = image_.find(run.page);
    if (!place || place->pages < run.pages)
        return makeError(ErrorCode::Internal, "a run of pages has no place");
    const auto data = scratch.first(run.pages * pageSize);
    TRY(image_.read(*place, data));
    TRY(putContent(run.page, data));
    meter_.update([&](Statistics &statistics) {
        statistics.normalPages += run.pages;
        statistics.memoryProcessed += data.size();
        statistics.memoryRemaining -= std::min(data.size(), statistics.memoryRemaining);
        statistics.streamBytes += data.size();
    });
    return {};
}

// ---- into the guest ----------------------------------------------------------------------

Result<void> PageServer::putContent(uint64_t page, std::span<const std::byte> data)
{
    const uint64_t pages = data.size() / pageSize;
    const auto isZero = [&](uint64_t i) { return isZeroPage(&data[i * pageSize]); };
    for (uint64_t i = 0; i < pages;) {
        if (isZero(i)) {
            i++;
            continue;
        }
        uint64_t end = i + 1;
        while (end < pages && !isZero(end))
            end++;
        TRY(put(page + i, data.subspan(i * pageSize, (end - i) * pageSize)));
        i = end;
    }
    return {};
}

Result<void> PageServer::put(uint64_t page, std::span<const std::byte> data)
{
    for (size_t done = 0; done < data.size();) {
        uffdio_copy order{};
        order.dst = mapping_.address + page * pageSize + done;
        order.src = reinterpret_cast<uintptr_t>(data.data()) + done;
        order.len = data.size() - done;
        if (::ioctl(faults_, UFFDIO_COPY, &order) == 0)
            return {};
        const int failure = errno;
        if (order.copy > 0) {
            done += static_cast<size_t>(order.copy);
        } else if (failure == EEXIST) {
            // It may have come by another way than ours: then nobody has woken who waits.
            wake(page + done / pageSize, 1);
            done += pageSize;
        } else if (failure == ESRCH) {
            return waitForEnd();
        } else if (failure != EAGAIN && failure != EINTR) {
            return systemError(failure, tr("cannot give the guest a page"));
        }
    }
    return {};
}

void PageServer::wake(uint64_t page, uint64_t pages)
{
    uffdio_range range{mapping_.address + page * pageSize, pages * pageSize};
    (void)::ioctl(faults_, UFFDIO_WAKE, &range);
}

Result<void> PageServer::finish()
{
    uffdio_range range{mapping_.address, mapping_.pages * pageSize};
    endThreads();   // before the kernel refuses their pages
    if (::ioctl(faults_, UFFDIO_UNREGISTER, &range) < 0)
        return errno == ESRCH ? waitForEnd() : systemError(errno, tr("cannot end the restore on demand"));
    // The kernel wakes who waits before it ends the registration (fs/userfaultfd.c, userfaultfd_unregister): who
    // touched a page in between would wait for ever.
    wake(0, memory_.filePages());
    uffdio_register tracking{};
    tracking.range = range;
    tracking.mode = UFFDIO_REGISTER_MODE_WP;
    if (::ioctl(faults_, UFFDIO_REGISTER, &tracking) < 0)
        log(LogLevel::Info, tr("no write-protect tracking after the restore on demand: error %d"), errno);
    return {};
}

// ---- what cannot be read ----------------------------------------------------------------

uint64_t PageServer::attempt()
{
    const std::lock_guard lock(mutex_);
    return attempt_;
}

bool PageServer::report(uint64_t attempt, uint64_t page, const Error &why, bool touched)
{
    const std::lock_guard telling(telling_);
    {
        const std::lock_guard lock(mutex_);
        if (gone_)
            return true;
        if (attempt_ != attempt)
            return false;
        if (touched)
            held_.push_back(page);
        if (std::exchange(stalled_, true))
            return true;
        failedPage_ = page;
    }
    host_.stalled(why);
    return true;
}

Result<void> PageServer::waitForRetry(uint64_t attempt, uint64_t page, const Error &why)
{
    (void)report(attempt, page, why, /* touched= */ false);
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return gone_ || attempt_ != attempt; });
    if (gone_)
        return gone();
    return {};
}

void PageServer::retry()
{
    ::eventfd_write(retry_.get(), 1);
}

void PageServer::takeRetry(Buffer &buffer)
{
    eventfd_t count = 0;
    if (::eventfd_read(retry_.get(), &count) < 0)
        return;   // another thread has it
    uint64_t failed = 0;
    {
        const std::lock_guard telling(telling_);
        std::unique_lock lock(mutex_);
        failed = failedPage_;
        const bool stalled = stalled_;
        lock.unlock();
        if (!stalled)
            return host_.goesOn();
    }
    image_.acceptChanges();
    const auto brought = bringTouched(failed, buffer);
    std::vector<uint64_t> touched;
    {
        const std::lock_guard telling(telling_);
        std::unique_lock lock(mutex_);
        if (brought) {
            stalled_ = false;
            attempt_++;
            touched = std::exchange(held_, {});
        }
        const bool stalled = stalled_;   // or another thread was asked once more, and could
        lock.unlock();
        changed_.notify_all();
        if (stalled)
            host_.stalled(brought.error());
        else
            host_.goesOn();
    }
    for (const uint64_t page : touched)
        answer(page, buffer);
}

void PageServer::guestIsGone()
{
    {
        const std::lock_guard lock(mutex_);
        gone_ = true;
    }
    changed_.notify_all();
}

Error PageServer::waitForEnd()
{
    pollfd process{process_.get(), POLLIN, 0};
    while (::poll(&process, 1, endPatienceMs) < 0 && errno == EINTR) {
    }
    guestIsGone();
    return gone();
}

Error PageServer::gone() const
{
    return makeError(ErrorCode::OperationFailed, tr("the guest's process has ended"));
}

} // namespace godwit::engine
