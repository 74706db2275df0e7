// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// What a Witness tells, on disk: where this process ends before the source has asked, the next
// one tells it. One small file per migration, with its secret, for this host's eyes only.

#include "migration/verdict.h"

#include <chrono>
#include <string>
#include <vector>

namespace godwit::domain {
class Host;
}

namespace godwit::migration {

/// A source that has not asked by then will hardly come back; its user decides.
inline constexpr std::chrono::minutes linger{10};

struct WitnessRecord {
    domain::MigrationLink here;                      ///< where the source asks
    Verdict verdict = Verdict::Ended;
    std::chrono::system_clock::time_point until;     ///< nobody listens any longer
};

/// Where the record of a migration into `def` is kept; its port is `port`.
std::string witnessPath(const domain::Host &host, const virDomainDef *def, unsigned short port);
/// All of a host's records.
std::vector<std::string> witnessPaths(const domain::Host &host);

base::Result<void> writeRecord(const std::string &path, const WitnessRecord &record);
base::Result<WitnessRecord> readRecord(const std::string &path);

} // namespace godwit::migration
