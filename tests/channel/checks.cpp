// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/channel/checks.h"

#include "channel/preface.h"

#include <algorithm>

namespace godwit::tests {

bool checkChannelDecoders(std::span<const std::byte> data)
{
    if (const auto preface = channel::decodePreface(data))
        if (!std::ranges::equal(channel::encodePreface(*preface), data))
            return false;
    if (const auto outcome = channel::decodeOutcomeHeader(data)) {
        auto again = channel::encodeOutcome(outcome->status, std::string(outcome->textLength, 'x'));
        again.resize(channel::outcomeHeaderSize);
        if (!std::ranges::equal(again, data))
            return false;
    }
    return true;
}

} // namespace godwit::tests
