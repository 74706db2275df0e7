// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.h"

namespace godwit::helper {

/// Give up, for good, whatever moving one guest's memory does not need: new privileges, new
/// sockets and connections, other programs and processes, new or named files to write. What
/// is left are the fds the process has, its memory and threads, and reading /proc (how dirty
/// pages are found). Denied system calls fail with EPERM. For the calling thread and those it
/// starts: call it before there are others. Builds with a sanitizer, whose runtime needs more,
/// only give up new privileges.
base::Result<void> enterSandbox();

} // namespace godwit::helper
