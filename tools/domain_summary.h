// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.h"

#include <string>
#include <string_view>

namespace godwit::tools {

/// What an image's XML or configuration says of its domain, "" where it says nothing; libvirt and
/// libxl judge the rest. Both may be hostile: little memory is taken beside the text.
struct DomainSummary {
    std::string type;   ///< of the hypervisor
    std::string name;
    std::string uuid;
};

/// An error, with line and column, when the text is no well-formed XML with <domain> as its root.
base::Result<DomainSummary> summariseXml(std::string_view xml);
/// An error when the text is no JSON.
base::Result<DomainSummary> summariseXlConfig(std::string_view json);
/// Of a configuration as people write it, which older releases of xl saved: `name = "web1"`.
DomainSummary summariseXlText(std::string_view text);

} // namespace godwit::tools
