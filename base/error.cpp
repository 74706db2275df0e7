// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/error.h"

#include "base/strprintf.h"

#include <cstdarg>
#include <cstring>

namespace godwit::base {

Error makeError(ErrorCode code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    Error error{code, vstrprintf(format, arguments)};
    va_end(arguments);
    return error;
}

Error systemError(int errnum, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    Error error{ErrorCode::System, vstrprintf(format, arguments), errnum};
    va_end(arguments);
    char buffer[128];
    // GNU strerror_r: returns the text, in `buffer` or elsewhere.
    error.message += std::string(": ") + strerror_r(errnum, buffer, sizeof buffer);
    return error;
}

} // namespace godwit::base
