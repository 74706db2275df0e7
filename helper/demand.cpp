// SPDX-License-Identifier: LGPL-2.1-or-later
// Restore on demand: the guest runs while its pages come.
#include "helper/operation.h"

#include "base/i18n.h"
#include "engine/page_server.h"

#include <chrono>
#include <thread>
#include <unistd.h>

namespace godwit::helper {

using namespace base;
using control::PageSource;
using control::RestoreOnDemand;
using control::ServePages;

namespace {

/// Until whoever resumes the guest is done, and the guest has begun: they need the processors more than pages
/// that nobody waits for (docs/performance.md, Restore).
constexpr std::chrono::milliseconds headStart{20};

/// Tells the driver how the serving goes.
class Teller : public engine::PageServerHost
{
public:
    Teller(Session &session, const engine::Meter &meter) : session_(session), meter_(meter) {}

    void stalled(const Error &why) override
    {
        session_.send(control::Stalled{why.code, static_cast<uint32_t>(why.errnum), why.message});
    }
    void goesOn() override { session_.send(control::Serving{toDone(meter_.snapshot()).progress}); }

private:
    Session &session_;
    const engine::Meter &meter_;
};

class OnDemand
{
public:
    OnDemand(Session &session, engine::Meter &meter, const PageSource &source, int ram, int image, int faults)
        : session_(session), meter_(meter), source_(source), ram_(ram), image_(image), faults_(faults),
          teller_(session, meter)
    {
    }

    /// `pipe`: where QEMU takes its device state from; null: it has it.
    Result<void> run(UniqueFd *pipe)
    {
        const auto index = toIndex(source_.index);
        if (!index)
            return makeError(ErrorCode::InvalidArgument, tr("pages of a plain image cannot be read on demand"));
        auto regions = TRY(toRegions(source_.regions));
        const auto memory = TRY(engine::MemoryMap::make(ram_, std::move(regions)));
        const engine::ImageOrigin origin{image_, source_.begin, source_.size, source_.modifiedNs, *index,
                                         cacheFor(image_, source_.bypassCache)};
        const auto image = TRY(engine::PagedImage::open(memory, origin));
        engine::DeviceState state = TRY(image->readDeviceState(meter_));
        engine::PageServer server(memory, *image, static_cast<pid_t>(source_.guestPid), faults_, teller_, meter_);
        TRY(server.start());
        if (pipe)
            TRY(loadDeviceState(session_, meter_, *pipe, state));
        state = engine::DeviceState();
        return serve(server);
    }

private:
    Result<void> serve(engine::PageServer &server)
    {
        // What ends the driver, or the terminal it was started from, does not end us.
        ::setsid();
        session_.outliveDriver([&server] { server.retry(); });
        meter_.enter(engine::Phase::Memory);
        teller_.goesOn();
        std::this_thread::sleep_for(headStart);
        auto served = server.fillAll();
        if (served)
            served = server.finish();
        session_.outliveDriver({});
        return served;
    }

    Session &session_;
    engine::Meter &meter_;
    const PageSource &source_;
    const int ram_, image_, faults_;
    Teller teller_;
};

} // namespace

Result<void> runOnDemand(Session &session, engine::Meter &meter, const RestoreOnDemand &request,
                         std::vector<UniqueFd> fds)
{
    using Fd = RestoreOnDemand::Fd;
    return OnDemand(session, meter, request.source, fds[Fd::RamFd].get(), fds[Fd::ImageFd].get(), fds[Fd::FaultFd].get())
        .run(&fds[Fd::DeviceStateFd]);
}

Result<void> runServePages(Session &session, engine::Meter &meter, const ServePages &request, std::vector<UniqueFd> fds)
{
    using Fd = ServePages::Fd;
    return OnDemand(session, meter, request.source, fds[Fd::RamFd].get(), fds[Fd::ImageFd].get(), fds[Fd::FaultFd].get())
        .run(nullptr);
}

} // namespace godwit::helper
