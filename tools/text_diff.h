// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <string>
#include <string_view>

namespace godwit::tools {

/// The lines that differ, with three around them, as `diff -u` prints them below its header;
/// "" when none do, or when the texts are too long to be compared by line.
std::string unifiedDiff(std::string_view before, std::string_view after);

} // namespace godwit::tools
