// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/unique_fd.h"
#include "stream/fd_io.h"

#include <optional>
#include <vector>

namespace godwit::stream {

/// An fd (borrowed) of which little is wanted. A file is read through a small window, and
/// what is skipped is not read at all; of a pipe or socket what is skipped goes nowhere,
/// by the shortest way, and nothing is read beyond what is asked for.
class SkimSource final : public FdSource
{
public:
    /// Offsets count from the fd's current position.
    explicit SkimSource(int fd);

    base::Result<void> skip(uint64_t count) override;
    /// Let a file's position be where this source stands; before that it is where it was.
    base::Result<void> settle();
    /// How many bytes a file has from offset 0 on; nothing is known of a pipe.
    std::optional<uint64_t> size() const;

protected:
    base::Result<size_t> readSome(std::span<const iovec> parts) override;

private:
    bool isFile() const { return start_ >= 0; }
    base::Result<void> skipInFile(uint64_t count);
    base::Result<void> skipInPipe(uint64_t count);
    base::Result<void> skipThroughBuffer(uint64_t count);
    base::Result<size_t> readAt(uint64_t offset, std::span<const iovec> parts) const;

    int64_t start_ = -1;                ///< of a file: its position for offset 0
    uint64_t knownEnd_ = 0;             ///< of a file: where it ended when it was last asked
    bool isPipe_ = false;
    base::UniqueFd nowhere_;
    std::vector<std::byte> buffer_;     ///< a file's window, or what is thrown away
    uint64_t windowOffset_ = 0;
    size_t windowLength_ = 0;
};

} // namespace godwit::stream
