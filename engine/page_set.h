// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

namespace godwit::engine {

/// A set of page numbers in [0, size): one bit for each, or in a large set for a few neighbours (a unit), so that
/// it never takes more than 4 MiB. A unit has a page when any of its pages was added: a large set may have more
/// than it was given, never less.
class PageSet
{
public:
    /// Every page of 128 GiB has a bit of its own.
    static constexpr uint64_t mostUnits = uint64_t{1} << 25;

    explicit PageSet(uint64_t size = 0, uint64_t units = mostUnits) : size_(size)
    {
        while (unitOf(size + unitPages() - 1) > units)
            shift_++;
        words_.resize((unitOf(size + unitPages() - 1) + 63) / 64);
    }

    uint64_t size() const { return size_; }
    bool has(uint64_t page) const { return words_[wordOf(page)] & bitOf(page); }
    void add(uint64_t page) { words_[wordOf(page)] |= bitOf(page); }
    /// The same while other threads add and look up other pages.
    bool hasShared(uint64_t page) const
    {
        return __atomic_load_n(&words_[wordOf(page)], __ATOMIC_RELAXED) & bitOf(page);
    }
    void addShared(uint64_t page) { __atomic_fetch_or(&words_[wordOf(page)], bitOf(page), __ATOMIC_RELAXED); }
    void clear() { std::ranges::fill(words_, 0); }

    /// [first, end), clipped to the set.
    void addRange(uint64_t first, uint64_t end)
    {
        end = std::min(end, size_);
        if (first >= end)
            return;
        const uint64_t lastUnit = unitOf(end - 1);
        for (uint64_t unit = unitOf(first); unit <= lastUnit;) {
            const uint64_t stop = std::min(lastUnit + 1, (unit / 64 + 1) * 64);
            const uint64_t bits = stop - unit;
            words_[unit / 64] |= (bits == 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1) << (unit % 64);
            unit = stop;
        }
    }

    /// Every unit of `some` that is none of `others`; all of one size.
    void addDifference(const PageSet &some, const PageSet &others)
    {
        for (size_t i = 0; i < words_.size(); i++)
            words_[i] |= some.words_[i] & ~others.words_[i];
    }

    uint64_t count() const
    {
        uint64_t units = 0;
        for (uint64_t word : words_)
            units += static_cast<uint64_t>(std::popcount(word));
        const uint64_t beyond = size_ > 0 && has(size_ - 1) ? (unitOf(size_ - 1) + 1) * unitPages() - size_ : 0;
        return units * unitPages() - beyond;
    }

    /// The first member at or after `page`, or size().
    uint64_t next(uint64_t page) const
    {
        if (page >= size_)
            return size_;
        size_t index = wordOf(page);
        uint64_t word = words_[index] & ~uint64_t{0} << (unitOf(page) % 64);
        while (word == 0) {
            if (++index == words_.size())
                return size_;
            word = words_[index];
        }
        const uint64_t unit = index * 64 + static_cast<uint64_t>(std::countr_zero(word));
        return std::clamp(unit << shift_, page, size_);
    }

    /// The end of the pages from `page` on, at most `end`, that are here and in neither of the others; all of one
    /// size. Other threads may add to `second`.
    uint64_t endWithout(const PageSet &first, const PageSet &second, uint64_t page, uint64_t end) const
    {
        uint64_t from = ~uint64_t{0} << (unitOf(page) % 64);
        for (size_t index = wordOf(page); page < end && index <= wordOf(end - 1); index++, from = ~uint64_t{0}) {
            const uint64_t added = __atomic_load_n(&second.words_[index], __ATOMIC_RELAXED);
            if (const uint64_t others = (~words_[index] | first.words_[index] | added) & from)
                return std::clamp((index * 64 + static_cast<uint64_t>(std::countr_zero(others))) << shift_, page, end);
        }
        return std::max(page, end);
    }

private:
    uint64_t unitPages() const { return uint64_t{1} << shift_; }
    uint64_t unitOf(uint64_t page) const { return page >> shift_; }
    size_t wordOf(uint64_t page) const { return unitOf(page) / 64; }
    uint64_t bitOf(uint64_t page) const { return uint64_t{1} << (unitOf(page) % 64); }

    uint64_t size_;
    unsigned shift_ = 0;   // of a page's number, to its unit's
    std::vector<uint64_t> words_;
};

} // namespace godwit::engine
