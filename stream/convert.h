// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// Legacy streams (docs/stream-legacy.md) become libxl streams of version 2, as Xen's
// convert-legacy-stream makes them. One pass, less than 16 MiB of memory whatever comes.

#include "stream/legacy_reader.h"

#include <functional>

namespace godwit::stream {

struct ConvertOptions {
    legacy::ReadOptions read;
    /// Only the libxc stream, and the device model's state as it comes; toolstack records
    /// are dropped. (Toolstacks other than libxl have that.)
    bool bareLibxc = false;
    /// Called after each batch of pages with the bytes read and written so far.
    std::function<void(uint64_t read, uint64_t written)> progress = {};
};

/// Convert one stream. What was written before an error is no whole stream, except for a
/// checkpointed one: everything up to its last CHECKPOINT_END can be restored.
base::Result<void> convert(Source &source, Sink &sink, const ConvertOptions &options = {});
/// The same between fds (borrowed, at their current positions): page data stays in the
/// kernel where it can.
base::Result<void> convert(int source, int sink, const ConvertOptions &options = {});

} // namespace godwit::stream
