// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/dirty_tracker.h"
#include "engine/zero_page.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <atomic>
#include <utility>

namespace godwit::engine {

using namespace base;

namespace {

/// A hash for each unit: a page, or in a large guest so many neighbours that all hashes together keep within
/// limits. It is the sum of its pages', so that these are sent in any order and by several threads, and pages
/// of zeros count for nothing: the destination begins with them everywhere.
class ContentTracker : public DirtyTracker
{
public:
    ContentTracker(const MemoryMap &memory, uint64_t mostHashes)
        : memory_(memory), buffer_(portion * pageSize)
    {
        while (unitPages_ * mostHashes < memory.filePages())
            unitPages_ *= 2;
        hashes_.resize((memory.filePages() + unitPages_ - 1) / unitPages_);
    }

    const char *name() const override { return "content-hash"; }
    Result<void> start() override { return {}; }

    void sent(uint64_t page, const std::byte *content) override
    {
        std::atomic_ref(hashes_[page / unitPages_]).fetch_add(hashOf(page, content), std::memory_order_relaxed);
    }

    Result<void> collect(PageSet &dirty) override
    {
        const PageSet present = TRY(memory_.presentPages());
        const uint64_t end = memory_.filePages();
        uint64_t hash = 0, following = present.next(0);   // the latter may be far
        bool zeros = true;
        for (uint64_t page = 0; page < end; page++) {
            if (page % portion == 0) {
                const uint64_t count = std::min(portion, end - page);
                if (following < page)
                    following = present.next(page);
                zeros = following >= page + count;
                if (!zeros)
                    TRY(memory_.read(page, std::span(buffer_).first(count * pageSize)));
            }
            if (!zeros && memory_.has(page))
                hash += hashOf(page, &buffer_[page % portion * pageSize]);
            if ((page + 1) % unitPages_ == 0 || page + 1 == end)
                compare(page / unitPages_, std::exchange(hash, 0), dirty);
        }
        return {};
    }

private:
    static constexpr uint64_t portion = 64;   // pages read at once

    /// What has changed is sent again, all of it: so its hash begins anew. (Several pages that share a bit of a
    /// PageSet share a hash, too.)
    void compare(uint64_t unit, uint64_t hash, PageSet &dirty)
    {
        if (hashes_[unit] == hash)
            return;
        hashes_[unit] = 0;
        const uint64_t end = std::min((unit + 1) * unitPages_, memory_.filePages());
        for (uint64_t page = unit * unitPages_; page < end; page++)
            if (memory_.has(page))
                dirty.add(page);
    }

    static uint64_t hashOf(uint64_t page, const std::byte *content)
    {
        return isZeroPage(content) ? 0 : XXH3_64bits_withSeed(content, pageSize, page);
    }

    const MemoryMap &memory_;
    std::vector<std::byte> buffer_;
    uint64_t unitPages_ = 1;
    std::vector<uint64_t> hashes_;   // of what the destination has
};

} // namespace

std::unique_ptr<DirtyTracker> makeContentTracker(const MemoryMap &memory, uint64_t mostHashes)
{
    return std::make_unique<ContentTracker>(memory, mostHashes);
}

} // namespace godwit::engine
