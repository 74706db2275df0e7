// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "domain/domain.h"

#include <functional>

namespace godwit::driver {

/// The definitions that a call with VIR_DOMAIN_AFFECT_* is about. At least one is set.
/// Both stay valid while a job is held and neither changeConfig() nor a start happens.
struct AffectedDefs {
    virDomainDef *live = nullptr;
    virDomainDef *config = nullptr;
};
base::Result<AffectedDefs> affectedDefs(const domain::Domain &domain, unsigned flags);

/// The one definition that a query with VIR_DOMAIN_AFFECT_* asks about.
base::Result<virDomainDef *> affectedDef(const domain::Domain &domain, unsigned flags);

using DefChange = std::function<base::Result<void>(virDomainDef *def)>;

/// Change the persistent definition (a job is held). `change` is given a copy, which is
/// completed, checked and written before it takes the place of the old one: a failure
/// leaves everything as it was.
base::Result<void> changeConfig(domain::Domain &domain, const DefChange &change);

base::Result<void> requirePersistent(const domain::Domain &domain);

} // namespace godwit::driver
