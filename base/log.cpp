// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/log.h"

#include "base/strprintf.h"

#include <atomic>
#include <cstdio>

namespace godwit::base {

static std::atomic<LogSink> currentSink{nullptr};

void setLogSink(LogSink sink)
{
    currentSink = sink;
}

void log(LogLevel level, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const std::string text = vstrprintf(format, arguments);
    va_end(arguments);
    if (LogSink sink = currentSink)
        sink(level, text.c_str());
    else if (level >= LogLevel::Warning)
        std::fprintf(stderr, "%s\n", text.c_str());
}

} // namespace godwit::base
