// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/lanes.h"

#include <mutex>
#include <optional>
#include <thread>

namespace godwit::engine {

using namespace base;

Result<void> runLanes(size_t count, const std::function<Result<void>(size_t)> &work,
                      const std::function<void()> &interrupt)
{
    std::mutex mutex;
    std::optional<Error> failure;
    const auto run = [&](size_t lane) {
        auto done = work(lane);
        if (done)
            return;
        const std::lock_guard lock(mutex);
        if (failure)
            return;   // most likely interrupted because of the other
        failure = std::move(done).error();
        if (interrupt)
            interrupt();
    };
    std::vector<std::thread> others;
    for (size_t lane = 1; lane < count; lane++)
        others.emplace_back(run, lane);
    run(0);
    for (std::thread &other : others)
        other.join();
    if (failure)
        return std::move(*failure);
    return {};
}

} // namespace godwit::engine
