// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/machine/guest.h"

#include "base/i18n.h"
#include "base/log.h"
#include "hypervisor/machine/pending_memory.h"

namespace godwit::hypervisor::machine {

using base::Error;
using base::ErrorCode;
using base::LogLevel;
using base::makeError;
using base::Result;
using base::tr;
using base::UniqueFd;

/// For an emulator that has nothing left to do but to go.
static constexpr std::chrono::seconds quitPatience{10};

Result<void> MachineGuest::connect(UniqueFd monitor, std::chrono::seconds patience)
{
    QmpListener listener;
    listener.event = [weak = weak_from_this()](const std::string &name, const Json &data) {
        if (auto self = weak.lock())
            self->onEvent(name, data);
    };
    listener.closed = [weak = weak_from_this()](const Error &why) {
        if (auto self = weak.lock())
            self->onMonitorClosed(why);
    };
    qmp_ = TRY(Qmp::open(loop_, std::move(monitor), facts_.name, std::move(listener), patience));
    watchProcess();
    return {};
}

Result<void> MachineGuest::applyVnc(const virDomainDef *def)
{
    for (size_t i = 0; i < def->ngraphics; i++) {
        const virDomainGraphicsAuthDef &auth = def->graphics[i]->data.vnc.auth;
        if (!auth.passwd)
            continue;
        TRY(call("set_password", Json::object({{"protocol", "vnc"}, {"password", auth.passwd}})));
        if (auth.expires)
            TRY(call("expire_password", Json::object({{"protocol", "vnc"}, {"time", std::to_string(auth.validTo)}})));
    }
    return {};
}

Result<void> MachineGuest::applyLinks(const virDomainDef *def)
{
    for (size_t i = 0; i < def->nnets; i++) {
        if (def->nets[i]->linkstate == VIR_DOMAIN_NET_INTERFACE_LINK_STATE_DOWN)
            TRY(call("set_link", Json::object({{"name", def->nets[i]->info.alias}, {"up", false}})));
    }
    return {};
}

Result<void> MachineGuest::configure(const virDomainDef *def, bool incoming)
{
    TRY(applyVnc(def));
    TRY(applyLinks(def));
    if (facts_.hasBalloon && def->memballoon->period > 0)
        TRY(setBalloonPeriod(static_cast<unsigned>(def->memballoon->period)));
    // A guest that comes out of a stream brings its balloon with it.
    if (facts_.hasBalloon && !incoming && def->mem.cur_balloon < facts_.ramBytes / 1024)
        TRY(setBalloon(def->mem.cur_balloon));
    return collectDescription();
}

/// What rebootInPlace() does as it happens, for a guest that went down unwatched: whoever takes it up may
/// be gone in a moment.
Result<void> MachineGuest::rebootNow()
{
    TRY(call("system_reset"));
    TRY(call("cont"));
    std::lock_guard lock(mutex_);
    fakeReboot_ = false;
    return {};
}

Result<void> MachineGuest::takeUp(bool fakeReboot)
{
    {
        std::lock_guard lock(mutex_);
        fakeReboot_ = fakeReboot;
    }
    // A helper that lost its driver has given up; QEMU may still wait for it. Should the helper hang,
    // the guest is here all the same: it stands still until somebody resumes it.
    if (auto settled = settleMigration(); !settled)
        log(LogLevel::Warning, "domain '%s': %s", facts_.name.c_str(), settled.error().message.c_str());
    std::string state = TRY(runState());
    if (state == "shutdown" && fakeReboot) {
        TRY(rebootNow());
        state = "running";
    }
    TRY(collectDescription());
    uint64_t balloonKib = 0;   // it may have moved while nobody listened
    if (const auto stats = balloonStats(); facts_.hasBalloon && stats)
        balloonKib = stats->actualKib;
    loop_->post([self = shared_from_this(), state, balloonKib] {
        const auto told = self->listener();
        if (told && balloonKib > 0)
            told->balloonChanged(balloonKib);
        const auto missing = self->pending();
        if (missing && missing->trouble())
            self->memoryStalled();
        else if (state == "running")
            self->onRun();
        else if (state == "shutdown")
            self->onShutdown(Json::object({{"reason", "guest-shutdown"}}));
        else
            self->onStop();
    });
    // Nobody is to find one that is off in the midst of its shutdown.
    if (state == "shutdown" && process_.waitGone(quitPatience))
        return makeError(ErrorCode::NoDomain, "%s", tr("the guest has powered off"));
    return {};
}

} // namespace godwit::hypervisor::machine
