// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.h"

namespace godwit::helper {

/// Whether enterSandbox() denies system calls: not in a build with a sanitizer, whose runtime needs more.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool sandboxDeniesCalls = false;
#elif defined(__has_feature)
inline constexpr bool sandboxDeniesCalls = !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer);
#else
inline constexpr bool sandboxDeniesCalls = true;
#endif

/// Give up, for good, whatever moving one guest's memory does not need: new privileges, new
/// sockets and connections, other programs and processes, new or named files to write. What
/// is left are the fds the process has, its memory and threads, and reading /proc (how dirty
/// pages are found). Denied system calls fail with EPERM. For the calling thread and those it
/// starts: call it before there are others. Without sandboxDeniesCalls, only new privileges are given up.
base::Result<void> enterSandbox();

} // namespace godwit::helper
