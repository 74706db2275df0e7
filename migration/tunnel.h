// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// A tunnelled migration's data path: the helper writes into a pipe, a thread carries what
// comes out of it over the connection to the destination's daemon, and that daemon writes it
// into a pipe that the helper there reads. It goes one way: there is no outcome on it.

#include "base/result.h"
#include "base/unique_fd.h"
#include "conf/libvirt.h"

#include <thread>

namespace godwit::migration {

struct Pipe {
    base::UniqueFd readEnd;
    base::UniqueFd writeEnd;

    static base::Result<Pipe> make();
};

/// The source's end: carries what is written into writeEnd() until its last writer closes it.
class TunnelSender
{
public:
    /// `stream` is borrowed, and blocks.
    explicit TunnelSender(virStream *stream) : stream_(stream) {}
    TunnelSender(const TunnelSender &) = delete;
    TunnelSender &operator=(const TunnelSender &) = delete;
    /// The write end must be closed by then.
    ~TunnelSender();

    /// Start carrying; the end to write into, which is the caller's.
    base::Result<base::UniqueFd> start();
    /// Wait until all is carried. `whole`: the stream came to its good end, of which the
    /// destination's daemon is told; else it is told that it did not.
    base::Result<void> finish(bool whole);

private:
    base::Result<void> carry();

    virStream *stream_;
    base::UniqueFd source_;
    std::thread thread_;
    base::Result<void> carried_;   ///< the thread's until it is joined
};

} // namespace godwit::migration
