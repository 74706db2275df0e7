// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// The things a helper can do, each with the fds that came with its message; `tls`
// (borrowed) is null for connections in the clear.

#include "channel/tls.h"
#include "engine/device_state.h"
#include "engine/page_cache.h"
#include "helper/session.h"

namespace godwit::helper {

base::Result<void> runSave(Session &session, engine::Meter &meter, const control::Save &request,
                           std::vector<base::UniqueFd> fds, const channel::TlsCredentials *tls);

base::Result<void> runRestore(Session &session, engine::Meter &meter, const control::Restore &request,
                              std::vector<base::UniqueFd> fds, const channel::TlsCredentials *tls);

/// Whether a migration may have so many connections.
base::Result<void> checkConnections(uint32_t count);

/// Somebody else's stream between a pipe and a migration's connections.
base::Result<void> runRelay(Session &session, engine::Meter &meter, const control::Relay &request,
                            std::vector<base::UniqueFd> fds, const channel::TlsCredentials *tls);

/// Both end when every page is in.
base::Result<void> runOnDemand(Session &session, engine::Meter &meter, const control::RestoreOnDemand &request,
                               std::vector<base::UniqueFd> fds);
base::Result<void> runServePages(Session &session, engine::Meter &meter, const control::ServePages &request,
                                 std::vector<base::UniqueFd> fds);

/// Let QEMU take its device state out of `pipe`, which is closed.
base::Result<void> loadDeviceState(Session &session, engine::Meter &meter, base::UniqueFd &pipe,
                                   const engine::DeviceState &state);

/// An index of a message as the stream's code has it; nothing for a plain stream.
std::optional<stream::AlignedIndex> toIndex(const control::ImageIndex &index);

/// For an image whose pages, or the guest's RAM that goes there, are in `file`.
engine::PageCache cacheFor(int file, bool bypass);

/// The regions of a message as the engine has them.
base::Result<std::vector<engine::Region>> toRegions(const std::vector<control::Region> &regions);

} // namespace godwit::helper
