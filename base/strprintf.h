// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdarg>
#include <string>

namespace godwit::base {

/// sprintf into a std::string.
[[gnu::format(printf, 1, 2)]] std::string strprintf(const char *format, ...);
[[gnu::format(printf, 1, 0)]] std::string vstrprintf(const char *format, va_list arguments);

} // namespace godwit::base
