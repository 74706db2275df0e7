// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// Which of a migration's possible ways is taken: the source offers in Begin's cookie, the
// destination chooses in Prepare and says so in its own, the source holds it to the offer.

#include "migration/cookie.h"

namespace godwit::migration {

/// What a source of ours can send.
Abilities sourceAbilities();
/// What a destination of ours can read.
Abilities destinationAbilities();

/// What Begin's cookie offers: a source without our child sends one plain stream of the
/// version that it names, on one connection.
Abilities offerOf(const Cookie &fromSource);

/// The best of `offer` that `own` has too: the highest stream version, the source's first
/// choice of names, the fewest channels. Refused, naming both hosts, when there is none.
base::Result<Abilities> choose(const Abilities &offer, const std::string &sourceHost, const Abilities &own,
                               const std::string &ownHost);

/// What the caller asked for by flags and parameters is what was chosen.
base::Result<void> checkDemand(unsigned connections, bool tls, const Abilities &chosen, const std::string &peer);

/// On the source: what the destination chose is something that `offer` has.
/// A tunnel needs no secret: nobody else can get at it.
base::Result<void> checkChoice(const Abilities &offer, const Cookie &fromDestination, bool tunnelled);

} // namespace godwit::migration
