// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

namespace godwit::engine {

/// A set of page numbers in [0, size): one bit each.
class PageSet
{
public:
    explicit PageSet(uint64_t size = 0) : size_(size), words_((size + 63) / 64) {}

    uint64_t size() const { return size_; }
    bool has(uint64_t page) const { return words_[page / 64] >> (page % 64) & 1; }
    void add(uint64_t page) { words_[page / 64] |= uint64_t{1} << (page % 64); }
    /// The same while other threads add and look up other pages.
    bool hasShared(uint64_t page) const
    {
        return __atomic_load_n(&words_[page / 64], __ATOMIC_RELAXED) >> (page % 64) & 1;
    }
    void addShared(uint64_t page)
    {
        __atomic_fetch_or(&words_[page / 64], uint64_t{1} << (page % 64), __ATOMIC_RELAXED);
    }
    void clear() { std::ranges::fill(words_, 0); }

    /// [first, end), clipped to the set.
    void addRange(uint64_t first, uint64_t end)
    {
        end = std::min(end, size_);
        while (first < end) {
            const uint64_t stop = std::min(end, (first / 64 + 1) * 64);
            const uint64_t bits = stop - first;
            words_[first / 64] |= (bits == 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1) << (first % 64);
            first = stop;
        }
    }

    /// Every member of `some` that is none of `others`; all of one size.
    void addDifference(const PageSet &some, const PageSet &others)
    {
        for (size_t i = 0; i < words_.size(); i++)
            words_[i] |= some.words_[i] & ~others.words_[i];
    }

    uint64_t count() const
    {
        uint64_t total = 0;
        for (uint64_t word : words_)
            total += static_cast<uint64_t>(std::popcount(word));
        return total;
    }

    /// The first member at or after `page`, or size().
    uint64_t next(uint64_t page) const { return find(page, 0); }
    /// The first number at or after `page` that is no member, or size().
    uint64_t nextAbsent(uint64_t page) const { return find(page, ~uint64_t{0}); }

private:
    uint64_t find(uint64_t page, uint64_t flip) const
    {
        if (page >= size_)
            return size_;
        size_t index = page / 64;
        uint64_t word = (words_[index] ^ flip) & ~uint64_t{0} << (page % 64);
        while (word == 0) {
            if (++index == words_.size())
                return size_;
            word = words_[index] ^ flip;
        }
        return std::min(size_, index * 64 + static_cast<uint64_t>(std::countr_zero(word)));
    }

    uint64_t size_;
    std::vector<uint64_t> words_;
};

} // namespace godwit::engine
