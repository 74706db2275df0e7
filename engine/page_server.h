// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// Restore on demand: the guest runs, and its pages come out of an image as it touches them
// (userfaultfd, which the agent in QEMU has registered for missing pages), and all others in
// the background.
//
// A page becomes visible with its whole content and never replaces one that is there, so it
// does not matter who brings it, or that two do. Nothing is lost when we end: whoever touches a
// page that is missing waits until somebody serves again.
//
//   fault threads     answer whoever waits for a page; retry what failed
//   workers           bring all pages that have content; one that cannot read waits for retry()
//   fillAll()'s own   finds what is to be brought

#include "base/unique_fd.h"
#include "engine/dirty_tracker.h"
#include "engine/meter.h"
#include "engine/paged_image.h"

#include <condition_variable>
#include <thread>

namespace godwit::engine {

/// Who is told how it goes, on any thread.
class PageServerHost
{
public:
    virtual ~PageServerHost() = default;
    /// A page cannot be read. Told once, until retry().
    virtual void stalled(const base::Error &why) = 0;
    /// After retry(): it goes on.
    virtual void goesOn() = 0;
};

class PageServer
{
public:
    /// All borrowed. `faults` is the guest's userfaultfd.
    PageServer(const MemoryMap &memory, PagedImage &image, pid_t guest, int faults, PageServerHost &host, Meter &meter);
    PageServer(const PageServer &) = delete;
    PageServer &operator=(const PageServer &) = delete;
    ~PageServer();

    /// Answer who touches a page, from now on.
    base::Result<void> start();
    /// Bring all pages with content. Fails when the guest is gone; waits as long as one cannot
    /// be read.
    base::Result<void> fillAll(unsigned threads = 0);
    /// All pages are in: nobody waits for one any more, and written ones can be tracked from now on.
    base::Result<void> finish();
    /// Try again what could not be read. Returns at once; the host is told.
    void retry();

private:
    struct Run {
        uint64_t page = 0, pages = 0;
    };
    struct Buffer;

    void serve();
    void takeFaults(Buffer &buffer);
    void takeRetry(Buffer &buffer);
    void answer(uint64_t page, Buffer &buffer);
    base::Result<void> bringTouched(uint64_t page, Buffer &buffer);
    base::Result<void> bringRun(const Run &run, std::span<std::byte> scratch);
    base::Result<void> tryRun(const Run &run, std::span<std::byte> scratch);
    base::Result<void> handOut(uint64_t page, uint64_t pages, const std::function<base::Result<void>(Run)> &push);
    base::Result<std::vector<Run>> findData(uint64_t page, uint64_t pages);
    /// Put pages where they belong, those of zeros left out.
    base::Result<void> putContent(uint64_t page, std::span<const std::byte> data);
    /// Put them all; one that is there already stays.
    base::Result<void> put(uint64_t page, std::span<const std::byte> data);
    void wake(uint64_t page, uint64_t pages);
    uint64_t attempt();
    /// Stalled since this attempt, unless somebody has tried again meanwhile: false. A page that was
    /// touched is held until then.
    bool report(uint64_t attempt, uint64_t page, const base::Error &why, bool touched);
    base::Result<void> waitForRetry(uint64_t attempt, uint64_t page, const base::Error &why);
    void endThreads();
    void guestIsGone();
    /// The guest's memory goes before its process does: who hears of it shall find both gone.
    base::Error waitForEnd();
    base::Error gone() const;

    const MemoryMap &memory_;
    PagedImage &image_;
    const pid_t guest_;
    const int faults_;
    PageServerHost &host_;
    Meter &meter_;
    GuestMapping mapping_;
    base::UniqueFd process_;        // pidfd of the guest
    base::UniqueFd stop_, retry_;   // eventfds
    std::vector<std::thread> threads_;
    struct {
        uint64_t begin = 0, end = 0;
    } data_;                        // of the file: fillAll()'s last find

    std::mutex telling_;            // the host, in the order in which things happen; before mutex_
    std::mutex mutex_;              // for what follows
    std::condition_variable changed_;
    uint64_t attempt_ = 0;          // counts retries
    bool stalled_ = false;
    uint64_t failedPage_ = 0;
    std::vector<uint64_t> held_;    // touched, and could not be read
    bool gone_ = false;
};

} // namespace godwit::engine
