// SPDX-License-Identifier: LGPL-2.1-or-later
// Somebody else's stream through a migration's connections (docs/channel.md, "Relay"): libxl's, whose
// save helper knows one fd only. Each connection has a thread; what is read from the pipe at once is a
// block, its number puts it in its place again.
#include "base/i18n.h"
#include "base/strprintf.h"
#include "channel/admission.h"
#include "helper/operation.h"

#include <array>
#include <cerrno>
#include <set>
#include <thread>
#include <unistd.h>

namespace godwit::helper {

using namespace base;
using control::Relay;
using std::chrono::milliseconds;

namespace {

constexpr size_t blockHeaderSize = 16;   // u64 number, u32 size, u32 zero
constexpr uint32_t maxBlock = 1024 * 1024;
constexpr milliseconds relayPatience{10000};

/// Runs one function per connection, each on its thread; the first failure counts and stops all.
class Lanes
{
public:
    explicit Lanes(const channel::Interrupt &interrupt) : interrupt_(interrupt) {}

    template <typename Stream>
    Result<void> run(const std::vector<std::unique_ptr<Stream>> &streams,
                     const std::function<Result<void>(Stream &)> &lane)
    {
        std::vector<std::thread> threads;
        for (const auto &stream : streams) {
            threads.emplace_back([this, &lane, one = stream.get()] {
                if (auto done = lane(*one); !done)
                    fail(std::move(done).error());
            });
        }
        for (std::thread &thread : threads)
            thread.join();
        if (failure_)
            return *failure_;
        return {};
    }

    /// Called on a failure, too, with none of our locks held.
    std::function<void()> onFailure;

private:
    void fail(Error error)
    {
        {
            const std::lock_guard lock(mutex_);
            if (failure_)
                return;
            failure_ = std::move(error);
        }
        interrupt_.trip();
        if (onFailure)
            onFailure();
    }

    const channel::Interrupt &interrupt_;
    std::mutex mutex_;
    std::optional<Error> failure_;
};

/// The pipe into blocks, on the source.
class Splitter
{
public:
    Splitter(int pipe, engine::Meter &meter) : pipe_(pipe), meter_(meter) {}

    Result<void> lane(stream::Sink &sink)
    {
        std::vector<std::byte> block(blockHeaderSize + maxBlock);
        for (size_t size = 1; size > 0;) {
            size = TRY(next(block));
            TRY(sink.write(std::span(block).first(blockHeaderSize + size)));
            meter_.update([&](engine::Statistics &statistics) { statistics.streamBytes += size; });
        }
        return {};
    }

private:
    /// What is there now: a block of no bytes ends the stream, on every connection.
    Result<size_t> next(std::span<std::byte> block)
    {
        const std::lock_guard turn(mutex_);
        ssize_t got = 0;
        do {
            got = ended_ ? 0 : ::read(pipe_, block.data() + blockHeaderSize, maxBlock);
        } while (got < 0 && errno == EINTR);
        if (got < 0)
            return systemError(errno, "%s", tr("cannot read the guest's stream"));
        ended_ = got == 0;
        Writer header;
        header.u64(number_);
        header.u32(static_cast<uint32_t>(got));
        header.u32(0);
        std::ranges::copy(header.data(), block.begin());
        if (!ended_)
            number_++;
        return static_cast<size_t>(got);
    }

    const int pipe_;
    engine::Meter &meter_;
    std::mutex mutex_;
    uint64_t number_ = 0;
    bool ended_ = false;
};

/// Blocks back into the pipe, on the destination.
class Joiner
{
public:
    Joiner(int pipe, size_t lanes, engine::Meter &meter) : pipe_(pipe), meter_(meter), lanes_(lanes) {}

    Result<void> lane(stream::Source &source)
    {
        std::vector<std::byte> block;
        for (uint32_t size = 1; size > 0;) {
            std::array<std::byte, blockHeaderSize> raw;
            TRY(source.read(raw));
            Reader header(raw);
            const uint64_t number = TRY(header.u64());
            size = TRY(header.u32());
            TRY(header.zeros(4));
            if (size > maxBlock)
                return makeError(ErrorCode::BadFormat, tr("a block of %u bytes"), size);
            block.resize(size);
            TRY(source.read(block));
            TRY(put(number, block));
            meter_.update([&](engine::Statistics &statistics) { statistics.streamBytes += size; });
        }
        return {};
    }

    void giveUp()
    {
        const std::lock_guard lock(mutex_);
        failed_ = true;
        changed_.notify_all();
    }

private:
    /// Wait for the block's turn, and write it.
    Result<void> put(uint64_t number, std::span<const std::byte> block)
    {
        std::unique_lock lock(mutex_);
        const auto place = waiting_.insert(number);
        changed_.notify_all();
        changed_.wait(lock, [&] { return failed_ || number <= next_ || stuck(); });
        if (failed_)
            return makeError(ErrorCode::Aborted, "%s", tr("another connection has failed"));
        if (number != next_ || (ended_ > 0 && !block.empty()))
            return makeError(ErrorCode::BadFormat, tr("block %llu comes in the place of block %llu"),
                             static_cast<unsigned long long>(number), static_cast<unsigned long long>(next_));
        waiting_.erase(place);
        if (block.empty()) {
            ended_++;
        } else {
            TRY(stream::FdSink(pipe_).write(block));
            next_++;
        }
        changed_.notify_all();
        return {};
    }

    /// Every connection waits or has ended, and the next block is not among them: it will never come.
    bool stuck() const { return waiting_.size() + ended_ == lanes_ && !waiting_.contains(next_); }

    const int pipe_;
    engine::Meter &meter_;
    const size_t lanes_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::multiset<uint64_t> waiting_;
    size_t ended_ = 0;
    uint64_t next_ = 0;
    bool failed_ = false;
};

class Relaying
{
public:
    Relaying(Session &session, engine::Meter &meter, const Relay &request, std::vector<UniqueFd> fds,
             const channel::TlsCredentials *tls)
        : session_(session), meter_(meter), request_(request), fds_(std::move(fds)), tls_(tls)
    {
    }

    Result<void> run()
    {
        TRY(checkConnections(request_.connections));
        meter_.update([&](engine::Statistics &statistics) { statistics.connections = request_.connections; });
        if (request_.kind == control::StreamKind::Channel)
            return send();
        if (request_.kind == control::StreamKind::Listener)
            return receive();
        return makeError(ErrorCode::InvalidArgument, "%s", tr("a relay has connections"));
    }

private:
    Result<void> send()
    {
        const auto secret = TRY(channel::parseSecret(request_.secret));
        channel::Sockets sockets;
        for (size_t index = Relay::StreamFd; index < fds_.size(); index++)
            sockets.push_back(TRY(channel::openSource(std::move(fds_[index]), tls_, relayPatience)));
        TRY(channel::present(sockets, secret, relayPatience));
        channel::OutcomeReader outcome(*sockets[0]);
        const channel::Interrupt interrupt;
        std::vector<std::unique_ptr<stream::Sink>> sinks;
        for (const auto &socket : sockets)
            sinks.push_back(std::make_unique<channel::ChannelSink>(*socket, sinks.size(), outcome, interrupt));
        meter_.enter(engine::Phase::Memory);
        Splitter splitter(fds_[Relay::PipeFd].get(), meter_);
        Lanes lanes(interrupt);
        TRY(lanes.run<stream::Sink>(sinks, [&](stream::Sink &sink) { return splitter.lane(sink); }));
        meter_.enter(engine::Phase::Finishing);
        return outcome.await();
    }

    Result<void> receive()
    {
        meter_.enter(engine::Phase::Waiting);
        const channel::Expected expected{TRY(channel::parseSecret(request_.secret)), request_.connections,
                                         milliseconds(request_.connectTimeoutMs),
                                         milliseconds(request_.prefaceTimeoutMs), tls_};
        UniqueFd listener = std::move(fds_[Relay::StreamFd]);
        const auto sockets = TRY(channel::acceptPeers(listener.get(), expected));
        listener.reset();
        meter_.enter(engine::Phase::Memory);
        session_.setPeer(sockets[0].get());
        const auto outcome = join(sockets);
        session_.setPeer(nullptr);
        fds_[Relay::PipeFd].reset();
        if (auto sent = channel::sendOutcome(*sockets[0], outcome); !sent && outcome)
            return std::move(sent).error();
        return outcome;
    }

    Result<void> join(const channel::Sockets &sockets)
    {
        const channel::Interrupt interrupt;
        std::vector<std::unique_ptr<stream::Source>> sources;
        for (const auto &socket : sockets)
            sources.push_back(std::make_unique<channel::ChannelSource>(*socket, interrupt));
        Joiner joiner(fds_[Relay::PipeFd].get(), sources.size(), meter_);
        Lanes lanes(interrupt);
        lanes.onFailure = [&] { joiner.giveUp(); };
        return lanes.run<stream::Source>(sources, [&](stream::Source &source) { return joiner.lane(source); });
    }

    Session &session_;
    engine::Meter &meter_;
    const Relay &request_;
    std::vector<UniqueFd> fds_;
    const channel::TlsCredentials *tls_;
};

} // namespace

Result<void> runRelay(Session &session, engine::Meter &meter, const Relay &request, std::vector<UniqueFd> fds,
                      const channel::TlsCredentials *tls)
{
    return Relaying(session, meter, request, std::move(fds), tls).run();
}

} // namespace godwit::helper
