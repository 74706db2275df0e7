// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/device_state.h"

#include "base/i18n.h"
#include "stream/file_io.h"
#include "stream/libxl_stream.h"
#include "stream/temporary_file.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <poll.h>
#include <sys/eventfd.h>

namespace godwit::engine {

using namespace base;

constexpr size_t step = 256 * 1024;
constexpr size_t usual = 1024 * 1024;   // without video memory some 260 KiB

void DeviceState::prepare()
{
    buffer_.resize(step);
    head_.resize(usual);
    head_.clear();
}

Result<void> DeviceState::append(std::span<const std::byte> bytes)
{
    if (size_ + bytes.size() > stream::libxl::maxDeviceState)
        return makeError(ErrorCode::Unsupported, tr("the device state is longer than %u bytes"),
                         stream::libxl::maxDeviceState);
    const auto inMemory = bytes.first(std::min(bytes.size(), maxInMemory - head_.size()));
    const auto inFile = bytes.subspan(inMemory.size());
    head_.insert(head_.end(), inMemory.begin(), inMemory.end());
    size_ += inMemory.size();
    if (inFile.empty())
        return {};
    if (!rest_)
        rest_ = TRY_IN(tr("the device state is too much for memory"), stream::openTemporaryFile(folder_));
    TRY_IN(tr("the device state's temporary file"), stream::writeAt(rest_.get(), inFile, size_ - head_.size()));
    size_ += inFile.size();
    return {};
}

Result<void> DeviceState::append(stream::Source &source, std::optional<uint32_t> length)
{
    buffer_.resize(step);
    for (uint64_t left = length.value_or(stream::libxl::maxDeviceState + 1); left > 0;) {
        const auto part = std::span(buffer_).first(std::min<uint64_t>(buffer_.size(), left));
        if (length)
            TRY(source.read(part));
        const size_t count = length ? part.size() : TRY(source.readUpTo(part));
        TRY(append(part.first(count)));
        left = count < part.size() ? 0 : left - count;
    }
    return {};
}

Result<void> DeviceState::forEachPart(const std::function<Result<void>(std::span<const std::byte>)> &take) const
{
    TRY(take(head_));
    std::vector<std::byte> buffer(rest_ ? step : 0);
    for (uint64_t at = head_.size(); at < size_;) {
        const auto part = std::span(buffer).first(std::min<uint64_t>(buffer.size(), size_ - at));
        const size_t count = TRY_IN(tr("the device state's temporary file"),
                                    stream::readAt(rest_.get(), part, at - head_.size()));
        if (count < part.size())
            return makeError(ErrorCode::Internal, "the device state's temporary file was cut off");
        TRY(take(part));
        at += count;
    }
    return {};
}

Result<void> DeviceState::writeTail(stream::Sink &sink) const
{
    return stream::libxl::writeTail(sink, size_, [this](stream::Sink &out) {
        return forEachPart([&out](std::span<const std::byte> part) { return out.write(part); });
    });
}

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
    DeviceState state;
    state.prepare();
    thread_ = std::thread([this, state = std::move(state)]() mutable { result_ = readAll(std::move(state)); });
    return {};
}

Result<DeviceState> DeviceStateReader::finish()
{
    thread_.join();
    auto state = TRY(std::move(result_));
    if (state.size() == 0)
        return makeError(ErrorCode::OperationFailed, tr("QEMU wrote no device state"));
    return state;
}

Result<DeviceState> DeviceStateReader::readAll(DeviceState state)
{
    const std::span<std::byte> buffer = state.buffer();
    // What cannot be kept is read all the same: QEMU would otherwise wait for us before it stops its guest.
    Result<void> kept;
    for (;;) {
        std::array<pollfd, 2> waiting{pollfd{pipe_, POLLIN, 0}, pollfd{stop_.get(), POLLIN, 0}};
        if (::poll(waiting.data(), waiting.size(), -1) < 0 && errno != EINTR)
            return systemError(errno, tr("cannot wait for the device state"));
        if (waiting[1].revents)
            return makeError(ErrorCode::Aborted, tr("reading the device state was given up"));
        if (!waiting[0].revents)
            continue;
        const ssize_t count = ::read(pipe_, buffer.data(), buffer.size());
        if (count < 0 && errno != EINTR && errno != EAGAIN)
            return systemError(errno, tr("cannot read the device state"));
        if (count > 0 && kept)
            kept = state.append(buffer.first(static_cast<size_t>(count)));
        if (count == 0)
            break;
    }
    TRY(std::move(kept));
    return state;
}

} // namespace godwit::engine
