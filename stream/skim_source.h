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
    /// The fd stands at `offset`, or behind `start`, which was read from it already and
    /// begins at `offset`.
    explicit SkimSource(int fd, uint64_t offset = 0, std::span<const std::byte> start = {});

    base::Result<void> skip(uint64_t count) override;
    /// Let a file's position be where this source stands; before that it is where it was.
    base::Result<void> settle();
    /// The offset where a file ends; nothing is known of a pipe.
    std::optional<uint64_t> size() const;

protected:
    base::Result<size_t> readSome(std::span<const iovec> parts) override;

private:
    base::Result<void> skipInFile(uint64_t count);
    base::Result<void> skipInPipe(uint64_t count);
    base::Result<void> skipThroughBuffer(uint64_t count);
    base::Result<size_t> readAt(uint64_t offset, std::span<const iovec> parts) const;

    bool isFile_ = false;
    int64_t base_ = 0;                  ///< of a file: its position for offset 0
    std::vector<std::byte> start_;      ///< of anything else: read already, and not used yet
    uint64_t knownEnd_ = 0;             ///< of a file: where it ended when it was last asked
    bool isPipe_ = false;
    base::UniqueFd nowhere_;
    std::vector<std::byte> buffer_;     ///< a file's window, or what is thrown away
    uint64_t windowOffset_ = 0;
    size_t windowLength_ = 0;
};

} // namespace godwit::stream
