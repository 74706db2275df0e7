// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "control/messages.h"

#include <cstddef>
#include <span>

namespace godwit::control {

/// One message of each type, every field different from its default.
std::vector<Message> sampleMessages();

/// What must hold for any bytes: no crash, and what decodes encodes to the same bytes.
/// False when it does not hold.
bool checkDecoder(std::span<const std::byte> frame);

} // namespace godwit::control
