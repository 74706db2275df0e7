// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/dirty_tracker.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <array>

namespace godwit::engine {

using namespace base;

namespace {

class ContentTracker : public DirtyTracker
{
public:
    explicit ContentTracker(const MemoryMap &memory)
        : memory_(memory), zero_(XXH3_64bits(zeroPage().data(), pageSize)), hashes_(memory.filePages(), zero_)
    {
    }

    const char *name() const override { return "content-hash"; }
    Result<void> start() override { return {}; }
    bool wantsContent() const override { return true; }

    /// The destination begins with zeros everywhere, and so do the hashes.
    void sent(uint64_t page, const std::byte *content) override { hashes_[page] = XXH3_64bits(content, pageSize); }

    Result<void> collect(PageSet &dirty) override
    {
        const PageSet present = TRY(memory_.presentPages());
        for (const Region &region : memory_.regions()) {
            const uint64_t end = region.firstPage + region.pages;
            for (uint64_t page = region.firstPage; page < end; page++) {
                const uint64_t now = present.has(page) ? XXH3_64bits(memory_.page(page), pageSize) : zero_;
                if (now != hashes_[page])
                    dirty.add(page);
            }
        }
        return {};
    }

private:
    static const std::array<std::byte, pageSize> &zeroPage()
    {
        static const std::array<std::byte, pageSize> page{};
        return page;
    }

    const MemoryMap &memory_;
    uint64_t zero_;
    std::vector<uint64_t> hashes_;   // of what the destination has
};

} // namespace

std::unique_ptr<DirtyTracker> makeContentTracker(const MemoryMap &memory)
{
    return std::make_unique<ContentTracker>(memory);
}

} // namespace godwit::engine
