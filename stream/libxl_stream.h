// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// The outer stream: libxl's header, the libxc stream inside it, the emulator's state.

#include "stream/libxc_reader.h"
#include "stream/libxl_format.h"

#include <functional>
#include <optional>

namespace godwit::stream::libxl {

/// Who gets the device model's state: the next `length` bytes of `source`, exactly; without a
/// length, up to its end.
using DeviceStateHandler =
    std::function<base::Result<void>(const EmulatorHeader &header, std::optional<uint32_t> length, Source &source)>;

/// Read a whole libxl stream, END included; memory and device state go to the handlers as they
/// come, and nothing is kept. Refuses checkpointed streams.
base::Result<void> readStream(Source &source, libxc::Handler &handler, const DeviceStateHandler &deviceState);

/// Up to where the libxc stream begins; the caller writes that one next.
base::Result<void> writeHead(Sink &sink);
/// After the libxc stream: a device state of `length` bytes, which `writeState` writes, and END.
base::Result<void> writeTail(Sink &sink, uint64_t length, const std::function<base::Result<void>(Sink &)> &writeState);

} // namespace godwit::stream::libxl
