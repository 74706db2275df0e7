// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// Bytes from a source to a sink, by the shortest way there is: inside the kernel between
// files and pipes, through one buffer otherwise.

#include "stream/fd_io.h"

#include <vector>

namespace godwit::stream {

/// An fd (borrowed) whose bytes nobody looks at on their way.
class DirectSource final : public FdSource
{
public:
    using FdSource::FdSource;
    int directFd() const override { return fd_; }
};

class DirectSink final : public FdSink
{
public:
    using FdSink::FdSink;
    int directFd() const override { return fd_; }
};

class Copier
{
public:
    Copier(Source &source, Sink &sink);

    /// Exactly `length` bytes from `source`, which need not be the one of the constructor.
    base::Result<void> copy(Source &source, uint64_t length);

private:
    enum class Way : uint8_t { Buffer, CopyRange, Splice };

    /// How many bytes were moved; 0: this way cannot be gone.
    base::Result<uint64_t> moveSome(uint64_t length);
    base::Result<void> copyThroughBuffer(Source &source, uint64_t length);

    Source &source_;
    Sink &sink_;
    Way way_ = Way::Buffer;
    std::vector<std::byte> buffer_;
};

} // namespace godwit::stream
