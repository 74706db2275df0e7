// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <string>

namespace godwit::tools {

/// The lines that differ, with three around them, as `diff -u` prints them below its header;
/// "" when none do.
std::string unifiedDiff(const std::string &before, const std::string &after);

} // namespace godwit::tools
