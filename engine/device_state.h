// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.h"
#include "base/unique_fd.h"

#include <thread>
#include <vector>

namespace godwit::engine {

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
    base::Result<std::vector<std::byte>> finish();

private:
    base::Result<std::vector<std::byte>> readAll();

    int pipe_;
    base::UniqueFd stop_;   // eventfd: becomes readable when the reading shall end
    std::thread thread_;
    base::Result<std::vector<std::byte>> result_ = std::vector<std::byte>();
};

} // namespace godwit::engine
