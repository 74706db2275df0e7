// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.h"

#include <functional>
#include <string>
#include <string_view>

namespace godwit::tools {

/// Let the user change a text in $VISUAL, $EDITOR or vi, which has the terminal, whatever standard
/// input and output are. When `check` does not like it, a user at a terminal may try again;
/// otherwise the error says in which file the text is kept.
base::Result<std::string> editText(std::string_view text,
                                   const std::function<base::Result<void>(const std::string &)> &check);

/// Into a file of its own, whose path is returned.
base::Result<std::string> keepText(std::string_view text);

} // namespace godwit::tools
