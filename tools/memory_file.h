// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "stream/fd_io.h"
#include "stream/libxc_format.h"
#include "tools/output.h"

namespace godwit::tools {

/// A guest's memory as a file: page n at n * 4096, zeros as holes. Pages may come in any
/// order and again.
class MemoryFile
{
public:
    /// `output`, which must outlive it, is to be a regular file.
    static base::Result<MemoryFile> on(const Output &output);

    /// Pages with and without data: those without become zeros, and all that the guest has
    /// are inside the file.
    base::Result<void> note(std::span<const stream::libxc::PageWord> words);
    /// The data of pages that have some.
    base::Result<void> write(std::span<const stream::libxc::PageWord> words, stream::Source &data);
    /// The file has its final size.
    base::Result<void> finish();

private:
    explicit MemoryFile(const Output &output) : output_(output) {}
    base::Result<void> writeRun(uint64_t first, std::span<const std::byte> data);
    base::Result<void> clear(uint64_t first, uint64_t count);

    const Output &output_;
    uint64_t end_ = 0;          ///< behind the guest's highest page
    uint64_t writtenEnd_ = 0;   ///< behind the highest page that was written: beyond, all is a hole
    std::vector<std::byte> buffer_;
};

} // namespace godwit::tools
