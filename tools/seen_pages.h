// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// Which pages of a guest came already, however large it is: some parts of the bitmap in memory,
// the others in a file without a name.

#include "base/result.h"
#include "base/unique_fd.h"

#include <bitset>
#include <cstdint>
#include <memory>
#include <vector>

namespace godwit::tools {

class SeenPages
{
public:
    /// Is it new? What no x86 processor can address is new each time.
    base::Result<bool> add(uint64_t pfn);

private:
    static constexpr uint64_t mostPages = uint64_t{1} << 40;   // 52 bits of address
    static constexpr uint64_t chunkPages = 32768;
    using Chunk = std::bitset<chunkPages>;

    /// Some chunk of those that have their place here.
    struct Slot {
        uint64_t number = 0;
        bool changed = false;
        std::unique_ptr<Chunk> chunk;
    };
    static constexpr size_t slotCount = 2048;   // 256 GiB of memory, 8 MiB of bits

    base::Result<void> exchange(Slot &slot, uint64_t number);

    std::vector<Slot> slots_{slotCount};
    base::UniqueFd file_;
};

} // namespace godwit::tools
