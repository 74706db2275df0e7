// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/strprintf.h"

#include <cstdio>

namespace godwit::base {

std::string vstrprintf(const char *format, va_list arguments)
{
    va_list again;
    va_copy(again, arguments);
    const int length = std::vsnprintf(nullptr, 0, format, arguments);
    std::string text(length < 0 ? 0 : static_cast<size_t>(length), '\0');
    std::vsnprintf(text.data(), text.size() + 1, format, again);
    va_end(again);
    return text;
}

std::string strprintf(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    std::string text = vstrprintf(format, arguments);
    va_end(arguments);
    return text;
}

} // namespace godwit::base
