// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "stream/convert.h"
#include "tools/input.h"

namespace godwit::tools {

/// The head of the same image as it is when a stream of version 2 follows: an image's
/// version, an xl file's flag. Empty for a bare stream.
base::Result<std::vector<std::byte>> convertedHead(const Input &input);

/// Head and stream; refuses what is no legacy stream.
base::Result<void> convertInput(const Input &input, int sink, const stream::ConvertOptions &options);

} // namespace godwit::tools
