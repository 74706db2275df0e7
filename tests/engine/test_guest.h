// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/unique_fd.h"
#include "base/units.h"

#include <span>
#include <string>
#include <sys/types.h>
#include <vector>

namespace godwit::tests {

/// A memfd of `pages` pages, all holes.
base::UniqueFd makeRam(uint64_t pages);
/// Write words that differ from page to page into [first, first + pages).
void fillRam(int ramFd, uint64_t first, uint64_t pages, uint64_t seed = 1);
/// RAM as its guest sees it. To look at a hole fills it.
class RamView
{
public:
    explicit RamView(int ramFd);
    RamView(const RamView &) = delete;
    RamView &operator=(const RamView &) = delete;
    ~RamView();
    const std::byte *page(uint64_t number) const { return data_.data() + number * base::pageSize; }

private:
    std::span<const std::byte> data_;
};

/// The pages whose content differs.
std::vector<uint64_t> differingPages(int one, int other);
/// How many pages exist in the file.
uint64_t allocatedPages(int ramFd);
/// What tracks a guest's writes best on this kernel: write-protect from Linux 6.7 on, for who has
/// the agent, else soft-dirty where it was built with that, else content-hash.
std::string bestTracker(bool agent);

/// A child process that maps the RAM and writes to it (guest.cpp); ended by the destructor.
class TestGuest
{
public:
    struct Options {
        std::string mode = "write";
        uint64_t firstPage = 0;
        uint64_t pages = 0;
        std::string file;
        bool agent = true;
        bool demand = false;   ///< with the agent: its memory comes on demand
    };
    TestGuest(int ramFd, const Options &options);
    TestGuest(const TestGuest &) = delete;
    TestGuest &operator=(const TestGuest &) = delete;
    ~TestGuest();

    /// The userfaultfd that the agent has sent; none where it may not.
    base::UniqueFd takeFaults();
    pid_t pid() const { return pid_; }
    bool running() const { return pid_ > 0; }
    void stop() { command('s'); }
    void resume() { command('c'); }
    /// Wait until it has written to each of its pages; not for one that is idle or stopped.
    void writeAll() { command('w'); }

private:
    void command(char letter);

    pid_t pid_ = -1;
    base::UniqueFd input_, output_;
    base::UniqueFd agent_;
};

} // namespace godwit::tests
