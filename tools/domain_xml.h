// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.h"

#include <string>

namespace godwit::tools {

/// What an image's XML says of its domain; libvirt judges the rest.
struct DomainSummary {
    std::string type;   ///< of the hypervisor
    std::string name;
    std::string uuid;
};

/// An error, with line and column, when the text is no well-formed XML with <domain> as its root.
base::Result<DomainSummary> summariseDomain(std::string_view xml);

} // namespace godwit::tools
