// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/mapped_pages.h"

#include "base/i18n.h"

#include <cerrno>
#include <sys/mman.h>
#include <utility>

namespace godwit::engine {

using namespace base;

Result<MappedPages> MappedPages::map(const MemoryMap &memory, uint64_t first, uint64_t pages, Access access)
{
    const int protection = access == Access::Write ? PROT_READ | PROT_WRITE : PROT_READ;
    const size_t length = pages * pageSize;
    void *data = ::mmap(nullptr, length, protection, MAP_SHARED, memory.fd(), static_cast<off_t>(first * pageSize));
    if (data == MAP_FAILED)
        return systemError(errno, tr("cannot map the guest's RAM"));
    return MappedPages({static_cast<std::byte *>(data), length}, first, access);
}

MappedPages::MappedPages(MappedPages &&other) noexcept
    : data_(std::exchange(other.data_, {})), first_(other.first_), access_(other.access_)
{
}

MappedPages::~MappedPages()
{
    if (!data_.empty())
        ::munmap(data_.data(), data_.size());
}

Result<std::span<std::byte>> MappedPages::pages(uint64_t first, uint64_t count) const
{
    const auto found = data_.subspan((first - first_) * pageSize, count * pageSize);
    const bool write = access_ == Access::Write;
    // A kernel that cannot do it says EINVAL; then there are faults.
    if (::madvise(found.data(), found.size(), write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ) < 0 && errno != EINVAL)
        return systemError(errno, write ? tr("cannot write the guest's RAM") : tr("cannot read the guest's RAM"));
    return found;
}

} // namespace godwit::engine
