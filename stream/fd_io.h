// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// Where a stream's bytes come from and go to. Both count the bytes, so that errors can say
// where they happened. Both block; nothing is buffered, so what follows a stream on the
// same fd is left alone.

#include "base/result.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <sys/uio.h>
#include <vector>

namespace godwit::stream {

class Source
{
public:
    virtual ~Source() = default;

    /// Exactly as many bytes as asked for; a source that ends before is an error.
    base::Result<void> read(std::span<std::byte> into);
    /// The same into several places; `parts` is used up.
    base::Result<void> read(std::span<iovec> parts);
    /// Exactly so many more to the end of `to`, which grows as the bytes come: the count may be
    /// somebody else's claim.
    base::Result<void> append(std::vector<std::byte> &to, size_t count);
    /// The same, but a source that ends before is no error; returns how many came.
    base::Result<size_t> appendUpTo(std::vector<std::byte> &to, size_t count);
    /// As many as there are, up to `into`'s size: less only at the end.
    base::Result<size_t> readUpTo(std::span<std::byte> into);

    /// Go past so many bytes. By default they are read.
    virtual base::Result<void> skip(uint64_t count);

    uint64_t offset() const { return offset_; }

    /// The fd to move bytes from inside the kernel, advance() counting them; -1: none.
    virtual int directFd() const { return -1; }
    void advance(uint64_t count) { offset_ += count; }

protected:
    /// At least one byte, or 0 at the end.
    virtual base::Result<size_t> readSome(std::span<const iovec> parts) = 0;

    /// What to say when more was expected.
    base::Error endsHere() const;

private:
    uint64_t offset_ = 0;
};

class Sink
{
public:
    virtual ~Sink() = default;

    /// All of it, in order; `parts` is used up.
    base::Result<void> write(std::span<iovec> parts);
    base::Result<void> write(std::span<const std::byte> data);

    uint64_t offset() const { return offset_; }

    /// The fd to move bytes to inside the kernel, advance() counting them; -1: none.
    virtual int directFd() const { return -1; }
    void advance(uint64_t count) { offset_ += count; }

protected:
    /// At least one byte.
    virtual base::Result<size_t> writeSome(std::span<const iovec> parts) = 0;

private:
    uint64_t offset_ = 0;
};

/// A file, pipe or socket, blocking or not (borrowed).
class FdSource : public Source
{
public:
    explicit FdSource(int fd) : fd_(fd) {}

protected:
    base::Result<size_t> readSome(std::span<const iovec> parts) override;
    int fd_;
};

class FdSink : public Sink
{
public:
    explicit FdSink(int fd) : fd_(fd) {}

protected:
    base::Result<size_t> writeSome(std::span<const iovec> parts) override;
    int fd_;
};

/// Let a pipe hold more than usual, if the system allows it.
void widenPipe(int fd);

inline iovec part(const void *data, size_t length)
{
    return {const_cast<void *>(data), length};
}

} // namespace godwit::stream
