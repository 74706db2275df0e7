// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "conf/handle.h"
#include "domain/domain.h"

namespace godwit::domain {

/// How a start tells of itself.
struct StartReason {
    int runningReason = VIR_DOMAIN_RUNNING_BOOTED;
    int pausedReason = VIR_DOMAIN_PAUSED_USER;
    int startedDetail = VIR_DOMAIN_EVENT_STARTED_BOOTED;
};

/// Start an inactive domain (a job is held). It ends running, or paused; or as it was.
base::Result<void> startDomain(Domain &domain, bool paused);

/// Bring an inactive domain up empty, for a stream to fill: active, paused, its guest set.
/// Undone by endDomain(). What reads the stream is the caller's to wait for.
/// `request` needs all but its `guest`.
base::Result<void> receiveDomain(Domain &domain, hypervisor::ReceiveRequest request);

/// A received guest that is whole: let it run, or leave it paused, and tell so.
base::Result<void> launchReceived(Domain &domain, bool paused, const StartReason &reason);

/// Source: what becomes of a guest that was sent is decided here; its destination need not wait any longer.
void forgetMigration(Domain &domain);

/// A received guest that turned out to run already, after a restart: it stays.
void keepLaunched(Domain &domain);

/// The guest needs the managed-save image that it came from no more: it goes.
void releaseImage(Domain &domain);

/// The guest is gone, or was never whole: settle the domain as shut off, or take a
/// transient one out of the list. Safe to call for a domain that is settled already.
void endDomain(Domain &domain, int shutoffReason, int stoppedDetail);

/// A live definition was set but nothing came up: back to the persistent one; a transient
/// domain leaves the list. Nothing happens to an active domain.
void dropLiveDefinition(Domain &domain);

/// End `guest`, whose domain the caller settles then: what its process tells while it ends
/// has no say any more.
base::Result<void> destroyGuest(Domain &domain, const std::shared_ptr<hypervisor::Guest> &guest, bool graceful);

/// End a guest (the caller holds a job) and settle the domain.
base::Result<void> destroyDomain(Domain &domain, bool graceful, int shutoffReason, int stoppedDetail);

/// Take up the guest of a domain that a status file says is running.
void adoptDomain(Domain &domain);

/// Put `def` (taken over) into the host's list, with libvirt's rules for names and UUIDs
/// that are there already. `listFlags`: VIR_DOMAIN_OBJ_LIST_ADD_*. A definition that it
/// replaces is given to `previous`.
base::Result<Domain> addDomain(Host &host, conf::DomainDef def, unsigned listFlags,
                               conf::DomainDef *previous = nullptr);

} // namespace godwit::domain
