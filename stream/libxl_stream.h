// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// The outer stream: libxl's header, the libxc stream inside it, the emulator's state.

#include "stream/libxc_reader.h"
#include "stream/libxl_format.h"

#include <optional>

namespace godwit::stream::libxl {

struct DeviceState {
    EmulatorHeader header;
    std::vector<std::byte> data;
};

/// Read a whole libxl stream, END included; memory goes to `handler` as it comes, the
/// device state is returned. Refuses checkpointed streams.
base::Result<std::optional<DeviceState>> readStream(Source &source, libxc::Handler &handler);

/// Up to where the libxc stream begins; the caller writes that one next.
base::Result<void> writeHead(Sink &sink);
/// After the libxc stream: the device state, and END.
base::Result<void> writeTail(Sink &sink, std::span<const std::byte> deviceState);

} // namespace godwit::stream::libxl
