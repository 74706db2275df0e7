// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.h"

#include <string>

namespace godwit::domain {
class Domain;
}

namespace godwit::migration {

/// The XML that goes with a guest, into an image or to another host: its live definition with its
/// secrets, or `replacement` (empty: none), which has to mean the same guest (libvirt's ABI check).
base::Result<std::string> travelXml(domain::Domain &domain, const std::string &replacement);

} // namespace godwit::migration
