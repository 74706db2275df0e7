// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <string>
#include <string_view>

namespace godwit::tools {

/// What an image or a path says may be meant for the terminal: control characters become
/// question marks, but for those of `kept`.
std::string printable(std::string text, std::string_view kept = "");

} // namespace godwit::tools
