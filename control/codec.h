// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.h"
#include "control/messages.h"

#include <cstddef>
#include <span>

namespace godwit::control {

/// A frame is u32 length of the payload, u32 type, payload: little-endian, one datagram.
inline constexpr size_t frameHeaderSize = 8;
inline constexpr size_t maxFrame = 64 * 1024;
inline constexpr size_t maxString = 16 * 1024;
inline constexpr size_t maxItems = 1024;
inline constexpr size_t maxFds = 40;

/// The frame of a message. Longer strings are cut at the limit where they are prose
/// (Log, Failed, StateLoaded), and are an error elsewhere.
base::Result<std::vector<std::byte>> encode(const Message &message);

/// The message of one whole frame, from a peer that is not trusted.
base::Result<Message> decode(std::span<const std::byte> frame);

/// The message's name in docs/control.md, and how many fds must come with it.
const char *nameOf(const Message &message);
size_t fdCountOf(const Message &message);

} // namespace godwit::control
