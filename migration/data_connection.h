// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// The socket that a migration's data takes: made here, used elsewhere (the helper speaks
// on it). May block: call with no domain locked.

#include "base/result.h"
#include "base/unique_fd.h"
#include "conf/libvirt.h"

#include <string>
#include <vector>

namespace godwit::migration {

/// Where a migration goes: tcp://HOST[:PORT], IPv6 addresses in brackets.
struct Endpoint {
    std::string host;
    unsigned short port = 0;   ///< 0: not said

    static base::Result<Endpoint> parse(const char *uri);
    std::string uri() const;
};

/// This machine's name, as other hosts may know it.
base::Result<std::string> hostname();

/// A listening socket and the port it has.
struct ListeningSocket {
    base::UniqueFd fd;
    unsigned short port = 0;
    bool acquired = false;     ///< from the allocator: to be given back to it
};

/// Listen on `address` (empty: on every one): on `port`, or where that is 0 on a free one of `range`.
base::Result<ListeningSocket> listenOn(const std::string &address, unsigned short port,
                                       const virPortAllocatorRange *range);

/// Connect to `endpoint`, giving up after some seconds.
base::Result<base::UniqueFd> connectTo(const Endpoint &endpoint);
/// Make so many connections, all at the same time.
base::Result<std::vector<base::UniqueFd>> connectTo(const Endpoint &endpoint, unsigned count);

} // namespace godwit::migration
