// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "stream/legacy_reader.h"
#include "stream/libxl_stream.h"

namespace godwit::stream {

/// Read a legacy stream as libxl::readStream() reads what convert() makes of it: the same
/// records in the same order, nothing in between. Checkpointed streams are not for this.
base::Result<void> readLegacyStream(Source &source, libxc::Handler &handler, const libxl::DeviceStateHandler &deviceState,
                                    const legacy::ReadOptions &options = {});

} // namespace godwit::stream
