// SPDX-License-Identifier: LGPL-2.1-or-later
#include "helper/operation.h"

#include "base/i18n.h"
#include "base/log.h"
#include "channel/admission.h"
#include "engine/restore.h"
#include "stream/file_io.h"

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
        const auto memory = TRY(engine::MemoryMap::make(fds_[Restore::RamFd].get(), regions));
        return loadDeviceState(session_, meter_, fds_[Restore::DeviceStateFd], TRY(fill(memory)));
    }

    Result<engine::DeviceState> fill(const engine::MemoryMap &memory)
    {
        if (request_.kind == StreamKind::File && request_.streamVersion == libxl2 && stream::isRegularFile(streamFd())) {
            const auto cache = cacheFor(streamFd(), request_.bypassCache);
            return engine::restoreImage(memory, {streamFd(), toIndex(request_.index), cache}, meter_);
        }
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
