// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "stream/convert.h"
#include "tools/input.h"

namespace godwit::tools {

/// The stream, behind the same head as before, which says now what follows: an image's version,
/// an xl file's flag. Refuses what is no legacy stream.
base::Result<void> convertInput(const Input &input, int sink, const stream::ConvertOptions &options);

} // namespace godwit::tools
