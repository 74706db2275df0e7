// SPDX-License-Identifier: LGPL-2.1-or-later
#include "helper/operation.h"

#include "base/i18n.h"
#include "base/log.h"
#include "channel/admission.h"
#include "engine/file_io.h"
#include "engine/restore.h"

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

namespace godwit::helper {

using namespace base;
using control::Restore;
using control::StreamKind;
using std::chrono::milliseconds;

namespace {

constexpr auto legacy = static_cast<uint32_t>(engine::StreamVersion::Legacy);
constexpr auto libxl2 = static_cast<uint32_t>(engine::StreamVersion::Libxl2);

class Restoring
{
public:
    Restoring(Session &session, engine::Meter &meter, const Restore &request, std::vector<UniqueFd> fds,
              const channel::TlsCredentials *tls)
        : session_(session), meter_(meter), request_(request), fds_(std::move(fds)), tls_(tls)
    {
    }

    Result<void> run()
    {
        if (request_.streamVersion != legacy && request_.streamVersion != libxl2)
            return makeError(ErrorCode::Unsupported, tr("streams of version %u cannot be restored"),
                             request_.streamVersion);
        TRY(checkConnections(request_.connections));
        TRY(connect());
        if (sockets_.empty())
            return restore();
        meter_.update([&](engine::Statistics &statistics) { statistics.connections = request_.connections; });
        // Nobody but the source needs the cause more than the driver does, so both get it.
        session_.setPeer(sockets_[0].get());
        const auto outcome = restore();
        session_.setPeer(nullptr);
        if (auto sent = channel::sendOutcome(*sockets_[0], outcome); !sent && outcome)
            return std::move(sent).error();
        return outcome;
    }

private:
    int streamFd() const { return fds_[Restore::StreamFd].get(); }

    /// Leaves a connected stream in StreamFd, or the connections of a source that awaits the
    /// outcome in sockets_.
    Result<void> connect()
    {
        if (request_.kind == StreamKind::Channel)
            return admit();
        if (request_.kind == StreamKind::Listener)
            return accept();
        if (request_.kind == StreamKind::File || request_.kind == StreamKind::Plain)
            return {};
        return makeError(ErrorCode::InvalidArgument, tr("cannot restore from such a stream"));
    }

    Result<void> admit()
    {
        const auto secret = TRY(channel::parseSecret(request_.secret));
        auto socket = std::make_unique<channel::Socket>(std::move(fds_[Restore::StreamFd]));
        TRY(channel::admit(*socket, secret, milliseconds(request_.connectTimeoutMs)));
        sockets_.push_back(std::move(socket));
        return {};
    }

    /// Closes the listener: nobody else shall connect.
    Result<void> accept()
    {
        meter_.enter(engine::Phase::Waiting);
        const milliseconds patience(request_.connectTimeoutMs);
        UniqueFd listener = std::move(fds_[Restore::StreamFd]);
        if (request_.secret.empty()) {
            fds_[Restore::StreamFd] = TRY(channel::acceptAnyone(listener.get(), patience));
            return {};
        }
        const channel::Expected expected{TRY(channel::parseSecret(request_.secret)), request_.connections, patience,
                                         milliseconds(request_.prefaceTimeoutMs), tls_};
        sockets_ = TRY(channel::acceptPeers(listener.get(), expected));
        return {};
    }

    Result<void> restore()
    {
        const auto regions = TRY(toRegions(request_.regions));
        const auto memory = TRY(engine::MemoryMap::map(fds_[Restore::RamFd].get(), regions,
                                                       engine::MemoryMap::Access::Write));
        return loadState(TRY(fill(memory)));
    }

    Result<std::vector<std::byte>> fill(const engine::MemoryMap &memory)
    {
        if (request_.kind == StreamKind::File && request_.streamVersion == libxl2 && engine::isRegularFile(streamFd()))
            return engine::restoreImage(memory, {streamFd(), toIndex(request_.index), request_.bypassCache}, meter_);
        const auto version = static_cast<engine::StreamVersion>(request_.streamVersion);
        if (sockets_.empty()) {
            stream::FdSource source(streamFd());
            return engine::restore(memory, source, meter_, version);
        }
        const channel::Interrupt interrupt;
        std::vector<std::unique_ptr<stream::Source>> sources;
        for (const auto &socket : sockets_)
            sources.push_back(std::make_unique<channel::ChannelSource>(*socket, interrupt));
        engine::FurtherLanes<stream::Source> further;
        for (size_t index = 1; index < sources.size(); index++)
            further.streams.push_back(sources[index].get());
        further.interrupt = [&interrupt] { interrupt.trip(); };
        return engine::restore(memory, *sources[0], meter_, version, further);
    }

    Result<void> loadState(std::span<const std::byte> state)
    {
        const auto begin = engine::Meter::Clock::now();
        meter_.enter(engine::Phase::DeviceState);
        session_.send(control::LoadState{state.size()});
        TRY(writeState(state));
        fds_[Restore::DeviceStateFd].reset();
        const auto loaded = session_.waitStateLoaded();
        meter_.update([&](engine::Statistics &statistics) { statistics.loading = engine::Meter::since(begin); });
        if (!loaded.ok)
            return makeError(ErrorCode::OperationFailed, "%s", loaded.message.c_str());
        return {};
    }

    /// Ends early when QEMU has given up (the pipe breaks) or the driver says so: the reason
    /// is in its answer.
    Result<void> writeState(std::span<const std::byte> state)
    {
        const int pipe = fds_[Restore::DeviceStateFd].get();
        ::fcntl(pipe, F_SETFL, ::fcntl(pipe, F_GETFL) | O_NONBLOCK);
        while (!state.empty()) {
            std::array<pollfd, 2> waiting{pollfd{pipe, POLLOUT, 0}, pollfd{session_.stateLoadedFd(), POLLIN, 0}};
            if (::poll(waiting.data(), waiting.size(), -1) < 0 && errno != EINTR)
                return systemError(errno, tr("cannot wait for the device state's pipe"));
            if (waiting[1].revents)
                return {};
            if (!waiting[0].revents)
                continue;
            const ssize_t count = ::write(pipe, state.data(), state.size());
            if (count > 0)
                state = state.subspan(static_cast<size_t>(count));
            else if (errno == EPIPE)
                return {};
            else if (errno != EAGAIN && errno != EINTR)
                return systemError(errno, tr("cannot write the device state"));
        }
        return {};
    }

    Session &session_;
    engine::Meter &meter_;
    const Restore &request_;
    std::vector<UniqueFd> fds_;
    const channel::TlsCredentials *tls_;
    channel::Sockets sockets_;
};

} // namespace

Result<void> runRestore(Session &session, engine::Meter &meter, const Restore &request, std::vector<UniqueFd> fds,
                        const channel::TlsCredentials *tls)
{
    return Restoring(session, meter, request, std::move(fds), tls).run();
}

} // namespace godwit::helper
