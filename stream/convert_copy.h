// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// Bytes from a source to a sink, by the shortest way there is: inside the kernel to and from
// pipes, from file to file out of a mapping, through one buffer otherwise.

#include "base/unique_fd.h"
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

/// A part of a file in the address space, which only the kernel looks at: what is not there
/// any more is an error of a system call then, and no signal.
class FileWindow
{
public:
    FileWindow() = default;
    FileWindow(const FileWindow &) = delete;
    FileWindow &operator=(const FileWindow &) = delete;
    ~FileWindow() { unmap(); }

    /// The file's bytes from `offset` to the end of the window around it; none: there are none,
    /// or they cannot be mapped.
    std::span<const std::byte> at(int fd, uint64_t offset);

private:
    void unmap();

    void *address_ = nullptr;
    uint64_t start_ = 0;
};

class Copier
{
public:
    Copier(Source &source, Sink &sink);

    /// Exactly `length` bytes from `source`, which need not be the one of the constructor.
    base::Result<void> copy(Source &source, uint64_t length);
    /// At most so many of the constructor's source; how many they were, 0: it has ended.
    base::Result<uint64_t> copySome(uint64_t length);

private:
    enum class Way : uint8_t { Buffer, Mapped, Splice, Relay };

    /// How many bytes were moved, and counted; 0: this way cannot be gone.
    base::Result<uint64_t> moveSome(uint64_t length);
    /// From a pipe to a file by way of `between_`: while the kernel writes a pipe's bytes to a
    /// file nobody else can fill it.
    base::Result<uint64_t> relay(uint64_t length);
    ssize_t writeMapped(int in, int out, uint64_t length);
    base::Result<void> copyThroughBuffer(Source &source, uint64_t length);
    std::span<std::byte> bufferOf(uint64_t length);

    Source &source_;
    Sink &sink_;
    Way way_ = Way::Buffer;
    base::UniqueFd between_[2];     ///< a pipe of our own, for Relay: its ends to read and to write
    FileWindow window_;
    std::vector<std::byte> buffer_;
};

} // namespace godwit::stream
