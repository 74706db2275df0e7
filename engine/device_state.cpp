// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/device_state.h"

#include "base/i18n.h"
#include "stream/libxl_format.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <poll.h>
#include <sys/eventfd.h>

namespace godwit::engine {

using namespace base;

DeviceStateReader::~DeviceStateReader()
{
    if (!thread_.joinable())
        return;
    ::eventfd_write(stop_.get(), 1);
    thread_.join();
}

Result<void> DeviceStateReader::start()
{
    stop_.reset(::eventfd(0, EFD_CLOEXEC));
    if (!stop_)
        return systemError(errno, tr("cannot make an eventfd"));
    thread_ = std::thread([this] { result_ = readAll(); });
    return {};
}

Result<std::vector<std::byte>> DeviceStateReader::finish()
{
    thread_.join();
    auto state = TRY(std::move(result_));
    if (state.empty())
        return makeError(ErrorCode::OperationFailed, tr("QEMU wrote no device state"));
    return state;
}

Result<std::vector<std::byte>> DeviceStateReader::readAll()
{
    constexpr size_t step = 256 * 1024;
    std::vector<std::byte> state;
    for (;;) {
        std::array<pollfd, 2> waiting{pollfd{pipe_, POLLIN, 0}, pollfd{stop_.get(), POLLIN, 0}};
        if (::poll(waiting.data(), waiting.size(), -1) < 0 && errno != EINTR)
            return systemError(errno, tr("cannot wait for the device state"));
        if (waiting[1].revents)
            return makeError(ErrorCode::Aborted, tr("reading the device state was given up"));
        if (!waiting[0].revents)
            continue;
        const size_t had = state.size();
        state.resize(had + step);
        const ssize_t count = ::read(pipe_, state.data() + had, step);
        const int failure = errno;
        state.resize(had + static_cast<size_t>(std::max<ssize_t>(count, 0)));
        if (count == 0)
            return state;
        if (count < 0 && failure != EINTR && failure != EAGAIN)
            return systemError(failure, tr("cannot read the device state"));
        if (state.size() > stream::libxl::maxDeviceState)
            return makeError(ErrorCode::Unsupported, tr("the device state is longer than %u bytes"),
                             stream::libxl::maxDeviceState);
    }
}

} // namespace godwit::engine
