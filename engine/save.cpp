// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/save.h"

#include "base/i18n.h"
#include "base/log.h"
#include "engine/convergence.h"
#include "engine/device_state.h"
#include "engine/dirty_tracker.h"
#include "engine/limiter.h"
#include "engine/page_sender.h"
#include "stream/libxl_stream.h"

namespace godwit::engine {

using namespace base;
using namespace std::chrono;
using namespace std::chrono_literals;
namespace libxc = stream::libxc;
namespace libxl = stream::libxl;

namespace {

constexpr uint32_t roundsBeforeWarning = 10;

class Saver
{
public:
    Saver(const MemoryMap &memory, stream::Sink &sink, int deviceStatePipe, const SaveOptions &options,
          SaveHost &host, Meter &meter, const FurtherLanes<stream::Sink> &further)
        : memory_(memory), sink_(sink), options_(options), host_(host), meter_(meter),
          sender_(memory, sink, further, meter),
          limiter_([&host] { return host.limits().bandwidth; }, static_cast<unsigned>(further.count())),
          deviceState_(deviceStatePipe), dirty_(memory.allPages())
    {
        sender_.setLimiter(&limiter_);
    }

    Result<void> run()
    {
        meter_.update([&](Statistics &statistics) { statistics.memoryTotal = memory_.guestPages() * pageSize; });
        meter_.enter(Phase::Setup);
        TRY(libxl::writeHead(sink_));
        TRY(libxc::writeHead(sink_, domainHeader));
        if (options_.live)
            TRY(startTracking());
        meter_.firstPage();
        if (options_.live)
            TRY(sendRounds());
        meter_.step();
        TRY(stopGuest(host_, deviceState_, meter_, [this] { return sendKnownRest(); }));
        TRY(sendRest());
        return sendDeviceState();
    }

private:
    Result<void> startTracking()
    {
        tracker_ = TRY(startBestTracker(memory_, options_.guestPid));
        sender_.setTracker(tracker_.get());
        meter_.update([&](Statistics &statistics) { statistics.tracker = tracker_->name(); });
        log(LogLevel::Info, tr("dirty pages are tracked by %s"), tracker_->name());
        return {};
    }

    /// Rounds over what is dirty, until the rest takes no longer than the guest may stand still,
    /// and more rounds would not make it much shorter yet. A guest that writes faster than that
    /// goes on for ever, unless rounds are limited: its user sees it in the figures, and raises
    /// the downtime, suspends the guest or aborts.
    Result<void> sendRounds()
    {
        meter_.enter(Phase::Memory);
        auto collectedAt = Meter::Clock::now();
        for (uint32_t round = 1;; round++) {
            meter_.update([&](Statistics &statistics) { statistics.iteration = round; });
            meter_.step();
            TRY(sendRound());
            dirty_.clear();
            TRY(tracker_->collect(dirty_));
            const auto now = Meter::Clock::now();
            const duration<double> expected = expectDowntime(now - collectedAt);
            collectedAt = now;
            const bool satisfied = expected <= host_.limits().downtime;
            const bool worthIt = convergence_.isWorthARound(expected);
            if (satisfied && (round == options_.maxRounds || !worthIt))
                return {};
            if (round == options_.maxRounds)
                return tooBusy(expected);
            if (round == roundsBeforeWarning)
                log(LogLevel::Warning, "%s", tooBusy(expected).message.c_str());
        }
    }

    /// What there is to say of a guest whose memory changes faster than it can be sent.
    Error tooBusy(duration<double> expected) const
    {
        const Statistics now = meter_.snapshot();
        const auto mib = [](uint64_t bytes) { return static_cast<double>(bytes) / static_cast<double>(MiB); };
        return makeError(ErrorCode::OperationFailed,
                         tr("the guest changes %.1f MiB of memory a second and %.1f can be sent: after %llu rounds "
                            "it would still have to stand still for %.0f ms, not %lld"),
                         mib(now.dirtyPagesPerSecond * pageSize), mib(now.bandwidth),
                         static_cast<unsigned long long>(now.iteration), expected.count() * 1000,
                         static_cast<long long>(host_.limits().downtime.count()));
    }

    /// One pass over dirty_, measuring how fast it went.
    Result<void> sendRound(bool last = false)
    {
        const auto begin = Meter::Clock::now();
        const uint64_t before = sender_.offset();
        const auto sleptBefore = limiter_.slept();
        TRY(last ? sender_.sendLast(dirty_) : sender_.send(dirty_));
        // Older rounds count less and less; sleeping for the limit does not count at all,
        // because the last round will not be limited.
        const auto took = Meter::Clock::now() - begin;
        bytes_ = bytes_ / 2 + static_cast<double>(sender_.offset() - before);
        seconds_ = seconds_ / 2 + duration<double>(took - (limiter_.slept() - sleptBefore)).count();
        const double all = duration<double>(took).count();
        const auto bandwidth = all > 0 ? static_cast<double>(sender_.offset() - before) / all : 0;
        meter_.update([&](Statistics &statistics) { statistics.bandwidth = static_cast<uint64_t>(bandwidth); });
        return {};
    }

    duration<double> expectDowntime(Meter::Clock::duration period)
    {
        const auto pages = static_cast<double>(dirty_.count());
        const double speed = seconds_ > 0 && bytes_ > 0 ? bytes_ / seconds_ : 0;
        const duration<double> expected(speed > 0 ? pages * static_cast<double>(pageSize) / speed : 0);
        const double rate = pages / std::max(duration<double>(period).count(), 1e-6);
        meter_.update([&](Statistics &statistics) {
            statistics.memoryRemaining = dirty_.count() * pageSize;
            statistics.dirtyPagesPerSecond = static_cast<uint64_t>(rate);
            statistics.expectedDowntime = duration_cast<milliseconds>(expected);
        });
        return expected;
    }

    /// What of the rest is known already goes while QEMU is about to stop the guest, which takes it some milliseconds.
    /// Without a limit: the guest may soon stand still for it.
    Result<void> sendKnownRest()
    {
        if (!tracker_)
            return {};
        meter_.update([](Statistics &statistics) { statistics.iteration++; });
        sender_.setLimiter(nullptr);
        TRY(sendRound());
        dirty_.clear();
        return {};
    }

    Result<void> sendRest()
    {
        meter_.update([](Statistics &statistics) { statistics.iteration++; });
        meter_.enter(Phase::LastMemory);
        if (tracker_)
            TRY(tracker_->collect(dirty_));
        TRY(sendRound(/* last= */ true));
        return sender_.end();
    }

    Result<void> sendDeviceState()
    {
        meter_.enter(Phase::DeviceState);
        TRY(libxc::writeHvmTail(sink_, {}, libxc::encodeEmptyHvmContext(), {}));
        const auto state = TRY(deviceState_.finish());
        TRY(state.writeTail(sink_));
        meter_.update([&](Statistics &statistics) {
            statistics.deviceStateBytes = state.size();
            statistics.streamBytes = sender_.offset();
        });
        return {};
    }

    const MemoryMap &memory_;
    stream::Sink &sink_;
    const SaveOptions options_;
    SaveHost &host_;
    Meter &meter_;
    std::unique_ptr<DirtyTracker> tracker_;
    PageSender sender_;
    Limiter limiter_;
    DeviceStateReader deviceState_;
    PageSet dirty_;
    double bytes_ = 0, seconds_ = 0;   // of recent rounds
    Convergence convergence_;
};

} // namespace

Result<void> stopGuest(SaveHost &host, DeviceStateReader &deviceState, Meter &meter,
                       const std::function<Result<void>()> &meanwhile)
{
    const auto begin = Meter::Clock::now();
    TRY(deviceState.start());
    TRY(host.beginSuspend());
    if (meanwhile)
        TRY(meanwhile());
    TRY(host.awaitSuspended());
    meter.guestStopped();
    meter.update([&](Statistics &statistics) { statistics.suspending = Meter::since(begin); });
    return {};
}

Result<void> save(const MemoryMap &memory, stream::Sink &sink, int deviceStatePipe, const SaveOptions &options,
                  SaveHost &host, Meter &meter, const FurtherLanes<stream::Sink> &further)
{
    return Saver(memory, sink, deviceStatePipe, options, host, meter, further).run();
}

} // namespace godwit::engine
