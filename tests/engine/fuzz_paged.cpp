// SPDX-License-Identifier: LGPL-2.1-or-later
// Any file as an aligned image out of which a running guest's pages are read.
#include "engine/paged_image.h"
#include "stream/savefile.h"
#include "tests/stream/streams.h"

#include <cstdlib>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace godwit::base;
using namespace godwit::engine;
using namespace godwit::stream;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/// The guest of alignedImage().
static const MemoryMap &guest()
{
    static const std::vector<Region> regions{{Pfn{0}, 0, 12}, {Pfn{100}, 12, 10}};
    static const UniqueFd ram(::memfd_create("ram", MFD_CLOEXEC));
    static const MemoryMap map = [] {
        if (::ftruncate(ram.get(), 22 * pageSize) != 0)
            std::abort();
        return MemoryMap::make(ram.get(), regions).value();
    }();
    return map;
}

static void readAll(PagedImage &image)
{
    Meter meter;
    const auto state = image.readDeviceState(meter);
    if (!state && state.error().message.empty())
        std::abort();
    std::vector<std::byte> pages(22 * pageSize);
    for (uint64_t page = 0; page < 23; page++) {
        const auto place = image.find(page);
        if (place.has_value() != (page < 22) || (place && place->pages > 22 - page))
            std::abort();
        if (!place)
            continue;
        const auto read = image.read(*place, std::span(pages).first(place->pages * pageSize));
        if (!read && read.error().message.empty())
            std::abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const UniqueFd file = godwit::tests::fileWith(std::as_bytes(std::span(data, size)));
    const auto head = readSavefile(file.get());
    if (!head || !head->header.extension || head->header.extension->layout != SavefileLayout::Aligned)
        return 0;
    struct stat status{};
    ::fstat(file.get(), &status);
    const auto modified = static_cast<uint64_t>(status.st_mtim.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(status.st_mtim.tv_nsec);
    const auto image = PagedImage::open(guest(), {file.get(), head->streamOffset, size, modified, head->header.extension->index, PageCache::Use});
    if (image)
        readAll(**image);
    else if (image.error().message.empty())
        std::abort();
    return 0;
}
