// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// A transfer over several connections (docs/channel.md): each is a lane, with a thread of its
// own while there is something to do. Lane 0 is the first connection, which carries the stream.

#include "base/result.h"
#include "base/units.h"

#include <functional>
#include <vector>

namespace godwit::engine {

/// The connections after the first (borrowed). `interrupt` makes whatever waits on any of them,
/// or on the first, fail soon; it is called once one lane has failed.
template <typename Stream>
struct FurtherLanes {
    std::vector<Stream *> streams;
    std::function<void()> interrupt;

    size_t count() const { return streams.size() + 1; }
};

/// Do `work` for each of `count` lanes at the same time, lane 0 on the caller's thread. Returns
/// when all have ended: with the failure that came first, if there was one.
base::Result<void> runLanes(size_t count, const std::function<base::Result<void>(size_t lane)> &work,
                            const std::function<void()> &interrupt);

} // namespace godwit::engine
