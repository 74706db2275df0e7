// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/control/corpus.h"

#include "control/codec.h"

namespace godwit::control {

std::vector<Message> sampleMessages()
{
    const std::vector<Region> regions{{0, 0, 160}, {256, 1048576, 65280}};
    const std::string secret(64, 'a');
    const Progress progress{Phase::LastMemory, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, "write-protect", 4};
    const PageSource source{"web1", regions, 4711, 4096, 1 << 30, 1700000000, {4096, 12288, 1024}, true};
    return {
        Save{"web1", regions, StreamKind::Channel, secret, 4, {"/etc/pki", true, "host"}, true, 4711, 30, 1 << 20, 50, {4096, 12288, 1024}, true},
        Restore{"web1", regions, StreamKind::Listener, 1, secret, 4, {"/etc/pki", false, ""}, 1000, 100, {8192, 4096, 16}, true},
        Suspended{},
        StateLoaded{true, "it was fine"},
        Abort{"the emulator has ended"},
        SetLimits{1000, 20},
        RestoreOnDemand{source},
        ServePages{source},
        Retry{},
        Relay{"web1", StreamKind::Channel, secret, 4, {"/etc/pki", true, "host"}, 1000, 100},
        Hello{7},
        SuspendRequest{},
        LoadState{320000},
        progress,
        Done{progress, 320000, 1, 2, 3, 4},
        Failed{base::ErrorCode::System, 28, "No space left on device"},
        Log{LogLevel::Warning, "a line"},
        Serving{progress},
        Stalled{base::ErrorCode::BadFormat, 5, "the image ends"},
    };
}

bool checkDecoder(std::span<const std::byte> frame)
{
    const auto message = decode(frame);
    if (!message)
        return !message.error().message.empty();
    const auto again = encode(*message);
    if (!again)
        return false;
    // An unknown error code is taken as Internal, everything else keeps its bytes.
    if (std::holds_alternative<Failed>(*message) || std::holds_alternative<Stalled>(*message))
        return again->size() == frame.size();
    return std::equal(again->begin(), again->end(), frame.begin(), frame.end());
}

} // namespace godwit::control
