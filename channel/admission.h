// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// Destination: who may connect.

#include "channel/connection.h"
#include "channel/tls.h"

namespace godwit::channel {

/// What a migration's connections must show, and how many there are.
struct Expected {
    Secret secret{};
    uint32_t count = 1;
    milliseconds connectTimeout{};   ///< until all are there
    milliseconds prefaceTimeout{};   ///< what one connector may take to show its preface
    const TlsCredentials *tls = nullptr;   ///< borrowed; null: in the clear
};

/// Check the preface of a migration's one connection and accept it.
base::Result<void> admit(Socket &socket, const Secret &secret, milliseconds patience);

/// Wait for the connectors that show the secret, each with an index of its own. Others are
/// closed: at once when what they show is wrong, after a while when they stay silent; none of
/// them delays the right ones. The caller then closes the listener.
base::Result<Sockets> acceptPeers(int listener, const Expected &expected);
/// The same for a peer that knows no preface: the first to connect.
base::Result<base::UniqueFd> acceptAnyone(int listener, milliseconds connectTimeout);

} // namespace godwit::channel
