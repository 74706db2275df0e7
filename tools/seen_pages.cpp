// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tools/seen_pages.h"

#include "base/i18n.h"
#include "stream/file_io.h"
#include "stream/temporary_file.h"

#include <span>

namespace godwit::tools {

using namespace base;
using namespace stream;

Result<bool> SeenPages::add(uint64_t pfn)
{
    if (pfn >= mostPages)
        return true;
    const uint64_t number = pfn / chunkPages;
    Slot &slot = slots_[number % slotCount];
    if (!slot.chunk) {
        slot.chunk = std::make_unique<Chunk>();
        slot.number = number;
    }
    if (slot.number != number)
        TRY_IN(tr("temporary file"), exchange(slot, number));
    if (slot.chunk->test(pfn % chunkPages))
        return false;
    slot.chunk->set(pfn % chunkPages);
    slot.changed = true;
    return true;
}

/// What was never written is a hole, or behind the end: zeros.
Result<void> SeenPages::exchange(Slot &slot, uint64_t number)
{
    if (!file_)
        file_ = TRY(openTemporaryFile());
    const auto bits = std::as_writable_bytes(std::span(slot.chunk.get(), 1));
    if (slot.changed)
        TRY(writeAt(file_.get(), bits, slot.number * sizeof(Chunk)));
    slot.chunk->reset();
    TRY(readAt(file_.get(), bits, number * sizeof(Chunk)));
    slot.number = number;
    slot.changed = false;
    return {};
}

} // namespace godwit::tools
