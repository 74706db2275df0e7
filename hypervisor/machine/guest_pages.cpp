// SPDX-License-Identifier: LGPL-2.1-or-later
// A guest whose memory comes on demand.
#include "hypervisor/machine/guest.h"

#include "base/i18n.h"
#include "base/log.h"
#include "hypervisor/machine/agent_offer.h"
#include "hypervisor/machine/memory_layout.h"
#include "hypervisor/machine/pending_memory.h"

#include <unistd.h>

namespace godwit::hypervisor::machine {

using base::LogLevel;
using base::Result;
using base::systemError;
using base::tr;
using base::UniqueFd;

std::shared_ptr<PendingMemory> MachineGuest::pending()
{
    std::lock_guard lock(mutex_);
    return pending_;
}

bool MachineGuest::memoryPending()
{
    const auto missing = pending();
    return missing && !missing->complete();
}

void MachineGuest::takeFaults(int socket)
{
    if (auto offer = receiveOffer(socket)) {
        faults_ = std::move(offer->faults);
        faultsInGuest_ = offer->faultsInGuest;
        return;
    }
    log(LogLevel::Info, tr("domain '%s': its memory is read before it runs: the agent cannot bring pages on demand"),
        facts_.name.c_str());
}

Result<std::shared_ptr<HelperProcess>> MachineGuest::startOnDemand(ReceiveRequest &request, int state)
{
    PageSupply supply;
    supply.image = std::move(request.stream);
    supply.faults = std::move(faults_);
    supply.faultsInGuest = faultsInGuest_;
    const off_t begin = ::lseek(supply.image.get(), 0, SEEK_CUR);
    if (begin < 0)
        return systemError(errno, "%s", tr("cannot look at the image"));
    supply.source.guest = facts_.name;
    supply.source.regions = memoryLayout(facts_.ramBytes);
    supply.source.guestPid = static_cast<uint32_t>(process_.pid());
    supply.source.begin = static_cast<uint64_t>(begin);
    supply.source.index = {request.index->firstBatch, request.index->headSize, request.index->batchPages};
    supply.source.bypassCache = request.bypassCache;
    TRY(supply.accept());
    const int fds[] = {ram_.get(), supply.image.get(), supply.faults.get(), state};
    auto helper = TRY(HelperProcess::start(loop_, facts_.helper, control::RestoreOnDemand{supply.source}, fds));
    auto missing = std::make_shared<PendingMemory>(loop_, facts_.helper, std::move(supply));
    missing->setGuest(weak_from_this());
    std::lock_guard lock(mutex_);
    pending_ = std::move(missing);
    onDemand_ = true;
    return helper;
}

void MachineGuest::serveBy(std::shared_ptr<HelperProcess> helper)
{
    if (const auto missing = pending())
        missing->follow(std::move(helper));
}

Result<void> MachineGuest::takeUpPages(PendingStatus status)
{
    status.source.guest = facts_.name;
    status.source.guestPid = static_cast<uint32_t>(process_.pid());
    status.source.regions = memoryLayout(facts_.ramBytes);
    const auto missing = TRY(machine::takeUpPages(loop_, facts_.helper, std::move(status), ram_.get()));
    if (!missing)
        return {};
    missing->setGuest(weak_from_this());
    std::lock_guard lock(mutex_);
    pending_ = missing;
    return {};
}

Result<void> MachineGuest::waitForMemory(TransferObserver *observer)
{
    const auto missing = pending();
    return missing ? missing->wait(observer) : Result<void>();
}

void MachineGuest::memoryStalled()
{
    const auto missing = pending();
    const auto why = missing ? missing->trouble() : std::nullopt;
    // A helper whose guest has ended says so, perhaps before we have noticed.
    if (!why || process_.waitGone(std::chrono::milliseconds(0)))
        return;
    log(LogLevel::Error, tr("domain '%s': stopped, because its memory cannot be read: %s"), facts_.name.c_str(),
        why->message.c_str());
    const bool ran = running_.exchange(false);
    if (ran)
        expectStop(StopCause::IoError);
    // QEMU may take it only when the page is there that it waits for; until then it stands still
    // as well.
    qmp_->submit("stop", {}, [](Result<Json>) {});
    const auto told = listener();
    if (!told)
        return;
    told->guestPaused(StopCause::IoError);
    told->imageError(missing->imagePath(), why->message);
}

void MachineGuest::memoryComplete()
{
    {
        std::lock_guard lock(mutex_);
        pending_.reset();
    }
    log(LogLevel::Info, "domain '%s': all of its memory is in place", facts_.name.c_str());
    if (const auto told = listener())
        told->memoryComplete();
}

} // namespace godwit::hypervisor::machine
