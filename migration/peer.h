// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// The destination's daemon, as the source of a peer-to-peer migration talks to it. Every
// call blocks: none is made with a domain locked.

#include "conf/settings.h"
#include "migration/phases.h"

namespace godwit::migration {

class Peer
{
public:
    /// Connect, within a limited time; signs of life are asked for from then on.
    static base::Result<Peer> open(const std::string &uri, const conf::Settings &settings);
    Peer(Peer &&) = default;
    ~Peer();

    /// From now on the end of the connection aborts the transfer of `guest`: a daemon that
    /// stands still would hold it up at its end, when the guest stands still too.
    base::Result<void> abortAtItsEnd(const std::shared_ptr<hypervisor::Guest> &guest);

    /// What Prepare answered; a tunnelled migration's data goes into its stream.
    struct Prepared {
        std::string uri;
        Cookie cookie;
        std::unique_ptr<virStream, conf::FreeWith<virStreamFree>> stream;
    };
    /// `name`: the domain's here. The flags are those for the destination.
    base::Result<Prepared> prepare(const Request &request, const BeginReply &begun, unsigned flags);
    /// The guest runs there when this succeeds.
    base::Result<Cookie> finish(const Request &request, const std::string &name, const std::string &uri,
                                const Cookie &performed, bool cancelled, unsigned flags);
    /// Whether what it says last is its true word: not when the connection broke.
    bool alive() const { return virConnectIsAlive(connection_.get()) > 0; }

private:
    using Connection = std::unique_ptr<virConnect, conf::FreeWith<virConnectClose>>;
    Peer(Connection connection, bool takesParameters)
        : connection_(std::move(connection)), takesParameters_(takesParameters)
    {
    }

    Connection connection_;
    std::unique_ptr<std::weak_ptr<hypervisor::Guest>> watched_;   ///< what the end of the connection aborts
    bool takesParameters_;   ///< the entry points with typed parameters
};

} // namespace godwit::migration
