// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/machine/guest.h"

#include "base/i18n.h"
#include "base/log.h"
#include "hypervisor/machine/aside.h"
#include "hypervisor/machine/command_line.h"
#include "hypervisor/machine/pending_memory.h"
#include "hypervisor/machine/transfer.h"

namespace godwit::hypervisor::machine {

using base::ErrorCode;
using base::LogLevel;
using base::makeError;
using base::Result;
using base::tr;
using base::UniqueFd;

GuestFacts GuestFacts::of(const CreateRequest &request)
{
    const virDomainDef *def = request.def;
    GuestFacts facts;
    facts.name = def->name;
    facts.runDir = request.runDir;
    facts.logPath = request.logPath;
    facts.ramBytes = virDomainDefGetMemoryInitial(def) * 1024;
    facts.onCrash = def->onCrash;
    if (def->memballoon && def->memballoon->model != VIR_DOMAIN_MEMBALLOON_MODEL_NONE && def->memballoon->info.alias) {
        facts.hasBalloon = true;
        facts.balloonAlias = def->memballoon->info.alias;
    }
    if (def->nvideos && def->videos[0]->type != VIR_DOMAIN_VIDEO_TYPE_NONE && def->videos[0]->info.alias) {
        facts.hasVideo = true;
        facts.videoAlias = def->videos[0]->info.alias;
    }
    for (size_t i = 0; i < def->ndisks; i++)
        facts.diskAliases.emplace_back(def->disks[i]->info.alias ? def->disks[i]->info.alias : "");
    return facts;
}

MachineGuest::MachineGuest(std::shared_ptr<EventLoop> loop, GuestFacts facts, Process process, UniqueFd ram,
                           LogTail log, std::shared_ptr<GuestListener> listener, PortLease vncPort)
    : loop_(std::move(loop)), facts_(std::move(facts)), process_(std::move(process)), ram_(std::move(ram)),
      log_(std::move(log)), vncPort_(std::move(vncPort)), listener_(std::move(listener))
{
}

MachineGuest::~MachineGuest()
{
    if (qmp_)
        qmp_->detach();
    // Whoever closes a RAM file last frees its pages: some 0.15 s per GiB of processor time.
    dropAside(std::move(ram_));
}

void MachineGuest::discard()
{
    {
        std::lock_guard lock(mutex_);
        listener_.reset();
    }
    if (auto gone = destroy(false); !gone)
        log(LogLevel::Error, "domain '%s': %s", facts_.name.c_str(), gone.error().message.c_str());
}

std::shared_ptr<GuestListener> MachineGuest::listener()
{
    std::lock_guard lock(mutex_);
    return listener_;
}

std::shared_ptr<Transfer> MachineGuest::transfer()
{
    std::lock_guard lock(mutex_);
    return transfer_;
}

Result<Json> MachineGuest::call(const char *command, Json arguments)
{
    return qmp_->call(command, std::move(arguments));
}

Result<std::string> MachineGuest::runState()
{
    const Json status = TRY(call("query-status"));
    return status["status"].string().value_or("");
}

void MachineGuest::expectStop(StopCause cause)
{
    std::lock_guard lock(mutex_);
    stopCause_ = cause;
}

// ---- lifecycle ---------------------------------------------------------------------------

Result<void> MachineGuest::pause(StopCause cause)
{
    expectStop(cause);
    auto stopped = call("stop");
    // A guest that stood still already sends no event to use the cause up.
    expectStop(StopCause::Unknown);
    TRY(std::move(stopped));
    return {};
}

Result<void> MachineGuest::unpause()
{
    const auto missing = pending();
    if (missing)
        TRY(missing->goOn(ram_.get()));
    TRY(call("cont"));
    // Pages that had stopped to come again by then stopped a guest that did not run yet.
    if (missing && missing->trouble() && running_)
        loop_->post([weak = weak_from_this()] {
            if (auto self = weak.lock())
                self->memoryStalled();
        });
    return {};
}

Result<void> MachineGuest::shutdown()
{
    {
        std::lock_guard lock(mutex_);
        fakeReboot_ = false;
    }
    TRY(call("system_powerdown"));
    return {};
}

Result<void> MachineGuest::reboot()
{
    {
        std::lock_guard lock(mutex_);
        fakeReboot_ = true;
    }
    TRY(call("system_powerdown"));
    return {};
}

Result<void> MachineGuest::reset()
{
    TRY(call("system_reset"));
    return {};
}

Result<void> MachineGuest::destroy(bool graceful)
{
    std::shared_ptr<Transfer> transfer;
    {
        std::lock_guard lock(mutex_);
        if (!deathCause_)
            deathCause_ = DeathCause::Destroyed;
        transfer = transfer_;
    }
    if (transfer)
        transfer->abort();
    // One that waits for a page takes no order.
    const auto missing = pending();
    if (!graceful && missing && missing->trouble())
        TRY(process_.signal(SIGKILL));
    // To give back its memory takes 50 to 100 ms per GiB. Others run meanwhile: of a guest that was moved the copy
    // that has just begun to.
    if (!running_)
        process_.standBack();
    // QEMU takes SIGTERM as an order to flush its disks and go.
    TRY(process_.signal(SIGTERM));
    if (process_.waitGone(graceful ? std::chrono::seconds(10) : std::chrono::seconds(3)))
        return {};
    if (graceful)
        return makeError(ErrorCode::OperationFailed, tr("the emulator of '%s' does not end when asked"), facts_.name.c_str());
    log(LogLevel::Warning, "domain '%s': the emulator ignores SIGTERM", facts_.name.c_str());
    TRY(process_.signal(SIGKILL));
    // What is left then is a process that waits for a device.
    if (!process_.waitGone(std::chrono::seconds(30)))
        return makeError(ErrorCode::TimedOut, tr("the emulator of '%s' cannot be ended: it waits for a device"),
                         facts_.name.c_str());
    return {};
}

// ---- what the driver wants to keep --------------------------------------------------------

static void describePty(virDomainChrDef *device, const std::map<std::string, std::string> &ptys)
{
    if (device->source->type != VIR_DOMAIN_CHR_TYPE_PTY || !device->info.alias)
        return;
    const auto found = ptys.find(device->info.alias);
    if (found == ptys.end())
        return;
    g_free(device->source->data.file.path);
    device->source->data.file.path = g_strdup(found->second.c_str());
}

Result<void> MachineGuest::describe(virDomainDef *def)
{
    std::lock_guard lock(mutex_);
    const auto describeAll = [&](virDomainChrDef **devices, size_t count) {
        for (size_t i = 0; i < count; i++)
            describePty(devices[i], ptys_);
    };
    describeAll(def->serials, def->nserials);
    describeAll(def->consoles, def->nconsoles);
    describeAll(def->channels, def->nchannels);
    for (size_t i = 0; i < def->nchannels; i++) {
        virDomainChrSourceDef *source = def->channels[i]->source;
        if (source->type == VIR_DOMAIN_CHR_TYPE_UNIX && isOwnChannelPath(source->data.nix.path)) {
            g_free(source->data.nix.path);
            source->data.nix.path = g_strdup(channelPath(def->channels[i], facts_.runDir).c_str());
        }
    }
    for (size_t i = 0; i < def->nnets && i < facts_.tapNames.size(); i++) {
        if (facts_.tapNames[i].empty())
            continue;
        g_free(def->nets[i]->ifname);
        def->nets[i]->ifname = g_strdup(facts_.tapNames[i].c_str());
    }
    if (def->ngraphics && facts_.vncPort)
        def->graphics[0]->data.vnc.port = facts_.vncPort;
    return {};
}

void MachineGuest::formatStatus(virBuffer *out)
{
    std::lock_guard lock(mutex_);
    virBufferAsprintf(out, "<machine pid='%d' startTime='%llu' ramFd='%d'", static_cast<int>(process_.pid()),
                      process_.startTime(), facts_.ramFdInGuest);
    if (fakeReboot_)
        virBufferAddLit(out, " fakeReboot='yes'");
    if (receiving_)
        virBufferAddLit(out, " receiving='yes'");
    virBufferAddLit(out, "/>\n");
    if (pending_)
        pending_->formatStatus(out);
}

} // namespace godwit::hypervisor::machine
