// SPDX-License-Identifier: LGPL-2.1-or-later
#include "helper/operation.h"

#include "base/i18n.h"

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

namespace godwit::helper {

using namespace base;

/// Ends early when QEMU has given up (the pipe breaks) or the driver says so: the reason is in
/// its answer.
static Result<void> writePart(const Session &session, int pipe, std::span<const std::byte> part)
{
    ::fcntl(pipe, F_SETFL, ::fcntl(pipe, F_GETFL) | O_NONBLOCK);
    while (!part.empty()) {
        std::array<pollfd, 2> waiting{pollfd{pipe, POLLOUT, 0}, pollfd{session.stateLoadedFd(), POLLIN, 0}};
        if (::poll(waiting.data(), waiting.size(), -1) < 0 && errno != EINTR)
            return systemError(errno, tr("cannot wait for the device state's pipe"));
        if (waiting[1].revents)
            return {};
        if (!waiting[0].revents)
            continue;
        const ssize_t count = ::write(pipe, part.data(), part.size());
        if (count > 0)
            part = part.subspan(static_cast<size_t>(count));
        else if (errno == EPIPE)
            return {};
        else if (errno != EAGAIN && errno != EINTR)
            return systemError(errno, tr("cannot write the device state"));
    }
    return {};
}

Result<void> loadDeviceState(Session &session, engine::Meter &meter, UniqueFd &pipe, const engine::DeviceState &state)
{
    const auto begin = engine::Meter::Clock::now();
    meter.enter(engine::Phase::DeviceState);
    session.send(control::LoadState{state.size()});
    TRY(state.forEachPart([&](std::span<const std::byte> part) { return writePart(session, pipe.get(), part); }));
    pipe.reset();
    const auto loaded = session.waitStateLoaded();
    meter.update([&](engine::Statistics &statistics) { statistics.loading = engine::Meter::since(begin); });
    if (!loaded.ok)
        return makeError(ErrorCode::OperationFailed, "%s", loaded.message.c_str());
    return {};
}

} // namespace godwit::helper
