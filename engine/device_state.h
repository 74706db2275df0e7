// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.h"
#include "base/unique_fd.h"
#include "stream/fd_io.h"

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

namespace godwit::engine {

/// QEMU's device state while it waits for the memory that comes first, or for its length to be known.
/// Video memory is part of it: what is too much to be kept in memory goes into a temporary file.
class DeviceState
{
public:
    static constexpr size_t maxInMemory = 4 * 1024 * 1024;

    /// `folder`: of the file (stream::openTemporaryFile()).
    explicit DeviceState(std::string folder = "") : folder_(std::move(folder)) {}

    /// Of an empty one: touch what a usual state needs. New memory takes its time, and later the guest stands still.
    void prepare();
    /// Of a prepared one: where to read a part of it before it is appended.
    std::span<std::byte> buffer() { return buffer_; }
    /// Up to stream::libxl::maxDeviceState bytes in all.
    base::Result<void> append(std::span<const std::byte> bytes);
    /// Exactly the next `length` bytes of `source`; without a length, up to its end.
    base::Result<void> append(stream::Source &source, std::optional<uint32_t> length);
    uint64_t size() const { return size_; }
    /// All of it, in order, until `take` fails.
    base::Result<void> forEachPart(const std::function<base::Result<void>(std::span<const std::byte>)> &take) const;
    /// As the end of a libxl stream.
    base::Result<void> writeTail(stream::Sink &sink) const;

private:
    std::string folder_;
    uint64_t size_ = 0;
    std::vector<std::byte> head_;   // the first maxInMemory bytes
    base::UniqueFd rest_;           // what follows them
    std::vector<std::byte> buffer_;
};

/// Takes QEMU's device state out of a pipe while the last memory is being sent, so that
/// QEMU never waits for us.
class DeviceStateReader
{
public:
    /// `pipe` is borrowed.
    explicit DeviceStateReader(int pipe) : pipe_(pipe) {}
    DeviceStateReader(const DeviceStateReader &) = delete;
    DeviceStateReader &operator=(const DeviceStateReader &) = delete;
    /// Gives up reading when nobody has waited for the end.
    ~DeviceStateReader();

    base::Result<void> start();
    /// All of it, once the writer has closed the pipe.
    base::Result<DeviceState> finish();

private:
    base::Result<DeviceState> readAll(DeviceState state);

    int pipe_;
    base::UniqueFd stop_;   // eventfd: becomes readable when the reading shall end
    std::thread thread_;
    base::Result<DeviceState> result_ = DeviceState();
};

} // namespace godwit::engine
