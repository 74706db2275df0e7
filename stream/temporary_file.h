// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// Room for what is too large for memory.

#include "base/result.h"
#include "base/unique_fd.h"

#include <string>

namespace godwit::stream {

/// An unlinked file in `folder`; "": $TMPDIR, or /var/tmp.
base::Result<base::UniqueFd> openTemporaryFile(const std::string &folder = "");

} // namespace godwit::stream
