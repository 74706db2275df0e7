// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

namespace godwit::base {

enum class LogLevel : unsigned { Debug = 1, Info = 2, Warning = 3, Error = 4 };

/// Where log lines go: set once, before threads start (the driver gives libvirt's
/// log, the helper its control connection). Without one, warnings and errors go to stderr.
using LogSink = void (*)(LogLevel level, const char *text);
void setLogSink(LogSink sink);

/// Write one log line; callable from any thread.
[[gnu::format(printf, 2, 3)]] void log(LogLevel level, const char *format, ...);

} // namespace godwit::base
