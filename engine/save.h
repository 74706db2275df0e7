// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "engine/memory_map.h"
#include "engine/meter.h"
#include "stream/fd_io.h"

#include <chrono>
#include <sys/types.h>

namespace godwit::engine {

/// What may change while a transfer runs.
struct Limits {
    uint64_t bandwidth = 0;   ///< bytes per second; 0 = unlimited. Not for a live guest's last round
    std::chrono::milliseconds downtime{300};
};

/// Who runs the engine and can stop the guest.
class SaveHost
{
public:
    virtual ~SaveHost() = default;
    virtual Limits limits() = 0;
    /// Returns when the guest's vCPUs stand still and QEMU writes its device state.
    virtual base::Result<void> suspendGuest() = 0;
};

struct SaveOptions {
    bool live = false;         ///< send memory in rounds before the guest is stopped
    pid_t guestPid = 0;        ///< whose writes are tracked; 0: unknown
    uint32_t maxRounds = 0;    ///< give up on a guest that is still too busy after so many; 0: never
};

/// Write the guest to `sink` as a libxl stream, END included; nothing is flushed. When it
/// fails after suspendGuest(), the guest stands still: the caller resumes it.
base::Result<void> save(const MemoryMap &memory, stream::Sink &sink, int deviceStatePipe,
                        const SaveOptions &options, SaveHost &host, Meter &meter);

} // namespace godwit::engine
