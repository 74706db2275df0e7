// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// What becomes of a guest that was sent when its migration does not end in Confirm: the answer of
// Finish was lost, the client has gone, or one of the daemons was restarted (docs/migration.md).

#include "domain/domain.h"
#include "domain/job.h"

#include <chrono>

namespace godwit::migration {

/// Write down how far it has come.
void enterPhase(domain::Domain &domain, domain::MigrationPhase phase);

/// Source: run a guest again that its migration stopped. A failure leaves it paused, and is told.
/// `noticed`: when it turned out that it must.
void goOn(domain::Domain &domain, std::chrono::steady_clock::time_point noticed);

/// Forget a domain's persistent definition, for UNDEFINE_SOURCE.
void undefine(domain::Domain &domain);

/// Source: the destination runs it; end the copy here, and its definition if that was asked for.
base::Result<void> endSource(domain::Domain &domain);

/// Source: the destination need not wait for questions any more. On a thread of the Host's.
void dismissLater(domain::Host &host, const domain::MigrationLink &destination);

/// Source, sent: ask the destination, then end the copy here or let it run. Where the destination
/// cannot be asked, it stays paused and the error says so.
base::Result<void> settleSent(domain::Domain &domain, domain::AsyncJob &job);

/// Source: the rule's last resort, where nobody knows whether the destination runs it. Answers what
/// to tell the user.
base::Error stayPaused(domain::Domain &domain, domain::AsyncJob &job, const base::Error &why);

/// Source: the same as settleSent() later, on a thread of the Host's. A migration's job is held, and kept.
void settleSentBeside(domain::Domain &domain);

/// After a start: settle what was under way when the process before this one ended.
void settleInterrupted(domain::Host &host);

} // namespace godwit::migration
