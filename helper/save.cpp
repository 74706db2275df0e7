// SPDX-License-Identifier: LGPL-2.1-or-later
#include "helper/operation.h"

#include "base/i18n.h"
#include "base/log.h"
#include "channel/connection.h"

#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace godwit::helper {

using namespace base;
using control::Save;
using control::StreamKind;

namespace {

constexpr std::chrono::seconds prefacePatience{10};

class Host : public engine::SaveHost
{
public:
    explicit Host(Session &session) : session_(session) {}

    engine::Limits limits() override { return session_.limits(); }

    Result<void> beginSuspend() override
    {
        session_.send(control::SuspendRequest{});
        return {};
    }

    Result<void> awaitSuspended() override
    {
        session_.waitSuspended();
        return {};
    }

private:
    Session &session_;
};

/// Begins writing back long before the end, so that the final sync has little to wait for.
class FileSink : public stream::FdSink
{
public:
    explicit FileSink(int fd) : FdSink(fd), begin_(::lseek(fd, 0, SEEK_CUR)), pushed_(begin_) {}

protected:
    Result<size_t> writeSome(std::span<const iovec> parts) override
    {
        const size_t count = TRY(FdSink::writeSome(parts));
        const off_t end = begin_ + static_cast<off_t>(offset() + count);
        if (begin_ >= 0 && end - pushed_ >= step) {
            ::sync_file_range(fd_, pushed_, end - pushed_, SYNC_FILE_RANGE_WRITE);
            pushed_ = end;
        }
        return count;
    }

private:
    static constexpr off_t step = 32 * static_cast<off_t>(MiB);
    off_t begin_;    // -1: not seekable
    off_t pushed_;
};

Result<void> sync(int fd)
{
    // A pipe (libvirt's I/O helper, say) has nothing to sync.
    if (::fsync(fd) < 0 && errno != EINVAL && errno != EROFS)
        return systemError(errno, tr("cannot sync the image"));
    return {};
}

class Saving
{
public:
    Saving(Session &session, engine::Meter &meter, const Save &request, std::vector<UniqueFd> fds,
           const channel::TlsCredentials *tls)
        : meter_(meter), request_(request), fds_(std::move(fds)), tls_(tls), host_(session)
    {
    }

    Result<void> run()
    {
        switch (request_.kind) {
        case StreamKind::File:
            return toFile();
        case StreamKind::Channel:
            return toChannel();
        case StreamKind::Plain: {
            stream::FdSink sink(streamFd());
            return save(sink);
        }
        default:
            return makeError(ErrorCode::InvalidArgument, tr("cannot save to such a stream"));
        }
    }

private:
    int streamFd() const { return fds_[Save::StreamFd].get(); }
    engine::SaveOptions options() const
    {
        return {request_.live, static_cast<pid_t>(request_.guestPid), request_.maxRounds};
    }

    Result<void> save(stream::Sink &sink, const engine::FurtherLanes<stream::Sink> &further = {})
    {
        const auto regions = TRY(toRegions(request_.regions));
        const auto memory = TRY(engine::MemoryMap::make(fds_[Save::RamFd].get(), regions));
        return engine::save(memory, sink, fds_[Save::DeviceStateFd].get(), options(), host_, meter_, further);
    }

    Result<void> saveAligned(const stream::AlignedIndex &index)
    {
        const auto regions = TRY(toRegions(request_.regions));
        const auto memory = TRY(engine::MemoryMap::make(fds_[Save::RamFd].get(), regions));
        const engine::ImageTarget target{streamFd(), index, cacheFor(fds_[Save::RamFd].get(), request_.bypassCache)};
        return engine::saveImage(memory, target, fds_[Save::DeviceStateFd].get(), options(), host_, meter_);
    }

    Result<void> toFile()
    {
        if (const auto index = toIndex(request_.index)) {
            TRY(saveAligned(*index));
        } else {
            FileSink sink(streamFd());
            TRY(save(sink));
        }
        meter_.enter(engine::Phase::Finishing);
        return sync(streamFd());
    }

    Result<void> toChannel()
    {
        const auto secret = TRY(channel::parseSecret(request_.secret));
        const auto sockets = TRY(connections());
        TRY(channel::present(sockets, secret, prefacePatience));
        channel::OutcomeReader outcome(*sockets[0]);
        const channel::Interrupt interrupt;
        std::vector<std::unique_ptr<stream::Sink>> sinks;
        for (const auto &socket : sockets)
            sinks.push_back(std::make_unique<channel::ChannelSink>(*socket, sinks.size(), outcome, interrupt));
        engine::FurtherLanes<stream::Sink> further;
        for (size_t index = 1; index < sinks.size(); index++)
            further.streams.push_back(sinks[index].get());
        further.interrupt = [&interrupt] { interrupt.trip(); };
        TRY(save(*sinks[0], further));
        meter_.enter(engine::Phase::Finishing);
        return outcome.await();
    }

    /// The stream's socket and the further ones, in the order of their indices.
    Result<channel::Sockets> connections()
    {
        TRY(checkConnections(request_.connections));
        meter_.update([&](engine::Statistics &statistics) { statistics.connections = request_.connections; });
        channel::Sockets sockets;
        sockets.push_back(TRY(channel::openSource(std::move(fds_[Save::StreamFd]), tls_, prefacePatience)));
        for (size_t further = Save::FurtherFds; further < fds_.size(); further++)
            sockets.push_back(TRY(channel::openSource(std::move(fds_[further]), tls_, prefacePatience)));
        return sockets;
    }

    engine::Meter &meter_;
    const Save &request_;
    std::vector<UniqueFd> fds_;
    const channel::TlsCredentials *tls_;
    Host host_;
};

} // namespace

Result<void> runSave(Session &session, engine::Meter &meter, const Save &request, std::vector<UniqueFd> fds,
                     const channel::TlsCredentials *tls)
{
    return Saving(session, meter, request, std::move(fds), tls).run();
}

Result<void> checkConnections(uint32_t count)
{
    if (count == 0 || count > stream::maxConnections)
        return makeError(ErrorCode::InvalidArgument, tr("a migration has 1 to %u connections, not %u"),
                         stream::maxConnections, count);
    return {};
}

engine::PageCache cacheFor(int file, bool bypass)
{
    if (bypass)
        return engine::PageCache::Bypass;
    struct stat status{};
    ::fstat(file, &status);
    const auto bytes = static_cast<uint64_t>(status.st_blocks) * 512;   // fstat(2)'s unit
    const auto hostPages = static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES));
    return engine::suitableCache(bytes, hostPages * pageSize);
}

std::optional<stream::AlignedIndex> toIndex(const control::ImageIndex &index)
{
    if (index == control::ImageIndex())
        return {};
    return stream::AlignedIndex{index.firstBatch, index.headSize, index.batchPages};
}

Result<std::vector<engine::Region>> toRegions(const std::vector<control::Region> &regions)
{
    std::vector<engine::Region> out;
    for (const control::Region &region : regions) {
        if (region.ramOffset % pageSize != 0)
            return makeError(ErrorCode::InvalidArgument, tr("a memory region is not page-aligned"));
        out.push_back({Pfn{region.firstPfn}, region.ramOffset / pageSize, region.pages});
    }
    return out;
}

} // namespace godwit::helper
