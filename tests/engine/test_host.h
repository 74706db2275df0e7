// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/unique_fd.h"
#include "engine/device_state.h"
#include "engine/save.h"

#include <fcntl.h>
#include <functional>
#include <gtest/gtest.h>
#include <string>

namespace godwit::tests {

inline const std::string deviceState = "QEVM and what follows";

inline std::string textOf(const engine::DeviceState &state)
{
    std::string text;
    EXPECT_TRUE(state.forEachPart([&](std::span<const std::byte> part) -> base::Result<void> {
        text.append(reinterpret_cast<const char *>(part.data()), part.size());
        return {};
    }));
    return text;
}

/// Stands for driver and QEMU: stops the guest and writes its device state.
struct TestHost : engine::SaveHost {
    engine::Limits limits() override
    {
        if (onLimits)
            onLimits();
        const bool satisfied = patientFor > 0 && meter && meter->snapshot().iteration >= patientFor;
        return satisfied ? engine::Limits{limit.bandwidth, std::chrono::hours(1)} : limit;
    }
    base::Result<void> beginSuspend() override
    {
        if (onBeginSuspend)
            onBeginSuspend();
        return {};
    }
    base::Result<void> awaitSuspended() override
    {
        suspends++;
        if (onSuspend)
            onSuspend();
        if (fail)
            return base::makeError(base::ErrorCode::OperationFailed, "the guest does not stop");
        EXPECT_EQ(::write(pipe.get(), deviceState.data(), deviceState.size()),
                  static_cast<ssize_t>(deviceState.size()));
        pipe.reset();
        return {};
    }
    /// For the device state of one save; returns the read end.
    base::UniqueFd makePipe()
    {
        int ends[2];
        EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
        pipe.reset(ends[1]);
        return base::UniqueFd(ends[0]);
    }

    engine::Limits limit;
    uint64_t patientFor = 0;   ///< rounds, after which any downtime is good enough; 0: never
    const engine::Meter *meter = nullptr;
    base::UniqueFd pipe;
    int suspends = 0;
    bool fail = false;
    std::function<void()> onBeginSuspend;   ///< the guest still runs
    std::function<void()> onSuspend;
    std::function<void()> onLimits;   ///< they are asked for all the time while a live guest is sent
};

} // namespace godwit::tests
