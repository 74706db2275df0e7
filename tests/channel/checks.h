// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstddef>
#include <span>

namespace godwit::tests {

/// For any bytes: what decodes as a preface or an outcome encodes to the same bytes. False
/// when it does not.
bool checkChannelDecoders(std::span<const std::byte> data);

} // namespace godwit::tests
