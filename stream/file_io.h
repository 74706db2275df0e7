// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.h"
#include "base/unique_fd.h"

#include <cstddef>
#include <cstdint>
#include <span>

namespace godwit::stream {

/// Whether `fd` is a file whose bytes can be reached by their offsets.
bool isRegularFile(int fd);

/// The same file again, with its own flags: `flags` is O_RDONLY or O_WRONLY, and O_DIRECT.
base::Result<base::UniqueFd> reopen(int fd, int flags);

/// Whether the kernel says that direct I/O of whole pages is possible; of some file systems it does not say.
bool takesDirectIo(int fd);

/// All of it; a disk that takes no more is ENOSPC.
base::Result<void> writeAt(int fd, std::span<const std::byte> data, uint64_t offset);
/// As many bytes as there are, up to `into`'s size.
base::Result<size_t> readAt(int fd, std::span<std::byte> into, uint64_t offset);

/// Where data begins at or after `offset`, up to where holes begin again; `end` when nothing
/// comes before it. A file system that knows no holes has none.
struct Extent {
    uint64_t begin, end;
};
Extent nextData(int fd, uint64_t offset, uint64_t end);

} // namespace godwit::stream
