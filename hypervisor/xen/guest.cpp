// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/xen/guest.h"

#include "base/i18n.h"
#include "base/log.h"
#include "base/strprintf.h"
#include "hypervisor/xen/config.h"
#include "hypervisor/xen/transfer.h"
#include "hypervisor/xen/xenstored.h"

#include <unistd.h>

namespace godwit::hypervisor::xen {

using base::ErrorCode;
using base::LogLevel;
using base::makeError;
using base::Result;
using base::strprintf;
using base::tr;

// ---- what it is made of ------------------------------------------------------------------

GuestFacts GuestFacts::of(const virDomainDef *def)
{
    GuestFacts facts;
    facts.name = def->name;
    facts.osType = def->os.type;
    facts.onPoweroff = def->onPoweroff;
    facts.onReboot = def->onReboot;
    facts.onCrash = def->onCrash;
    while (facts.serials < static_cast<int>(def->nserials) &&
           def->serials[facts.serials]->source->type == VIR_DOMAIN_CHR_TYPE_PTY)
        facts.serials++;
    facts.xenConsole = def->nconsoles && def->consoles[0]->targetType != VIR_DOMAIN_CHR_CONSOLE_TARGET_TYPE_SERIAL;
    facts.maxMemoryKib = virDomainDefGetMemoryInitial(def);
    return facts;
}

static bool wantsPort(const virDomainGraphicsDef *graphics)
{
    return (graphics->type == VIR_DOMAIN_GRAPHICS_TYPE_VNC && graphics->data.vnc.autoport) ||
           (graphics->type == VIR_DOMAIN_GRAPHICS_TYPE_SPICE && graphics->data.spice.autoport);
}

Result<GraphicsPorts> GraphicsPorts::choose(const virDomainDef *def, const virPortAllocatorRange *range)
{
    GraphicsPorts all;
    for (size_t i = 0; i < def->ngraphics; i++) {
        unsigned short port = 0;
        if (wantsPort(def->graphics[i]))
            TRY(conf::check(virPortAllocatorAcquire(range, &port)));
        all.ports_.push_back(port);
    }
    return all;
}

GraphicsPorts::~GraphicsPorts()
{
    for (int port : ports_) {
        if (port)
            virPortAllocatorRelease(static_cast<unsigned short>(port));
    }
}

XenGuest::XenGuest(GuestHost host, GuestFacts facts, std::shared_ptr<GuestListener> listener, GraphicsPorts ports)
    : host_(std::move(host)), facts_(std::move(facts)), ports_(std::move(ports)), listener_(std::move(listener))
{
}

XenGuest::~XenGuest()
{
    if (auto transfer = this->transfer())
        transfer->abort({});
    if (receiver_.joinable())
        receiver_.join();
    if (domid_)
        host_.watcher.forget(*domid_);
}

Result<void> XenGuest::attach(uint32_t domid)
{
    auto operation = TRY(Operation::open());
    DomainInfo state;
    TRY(operation->context().check(libxl_domain_info(operation->context(), state.get(), domid),
                                   inContext(tr("asking for its state"))));
    {
        std::lock_guard lock(mutex_);
        domid_ = domid;
        life_ = Life::Alive;
        // One that stands suspended is somebody's to settle: not ours by ourselves.
        suspended_ = state->shutdown && state->shutdown_reason == LIBXL_SHUTDOWN_REASON_SUSPEND;
    }
    running_ = !state->paused && !state->shutdown;
    // The host's console is its own, and nobody here sees it end.
    if (domid == hostDomid)
        return {};
    // Where xenstored has died, it runs on, and nobody hears of its end.
    if (auto watchable = requireXenstored(); !watchable) {
        log(LogLevel::Warning, "'%s': %s", facts_.name.c_str(), watchable.error().message.c_str());
        if (state->shutdown)   // since then
            domainShutDown(static_cast<libxl_shutdown_reason>(state->shutdown_reason));
        return {};
    }
    TRY(host_.watcher.watch(domid, weak_from_this()));
    readTerminals(operation->context(), domid);
    return {};
}

Result<void> XenGuest::takeUp(uint32_t domid)
{
    auto attached = attach(domid);
    if (attached || !this->domid())
        return attached;
    // As there.
    log(LogLevel::Warning, "'%s': %s", facts_.name.c_str(), attached.error().message.c_str());
    return {};
}

// ---- helpers -----------------------------------------------------------------------------

std::string XenGuest::inContext(const char *what) const
{
    return strprintf("'%s': %s", facts_.name.c_str(), what);
}

std::shared_ptr<GuestListener> XenGuest::listener()
{
    std::lock_guard lock(mutex_);
    return listener_;
}

std::shared_ptr<XenGuest::Transfer> XenGuest::transfer() const
{
    std::lock_guard lock(mutex_);
    return transfer_;
}

Result<uint32_t> XenGuest::domid() const
{
    std::lock_guard lock(mutex_);
    if (life_ == Life::Dead)
        return makeError(ErrorCode::OperationInvalid, tr("the guest '%s' is gone"), facts_.name.c_str());
    if (life_ == Life::Rebooting)
        return makeError(ErrorCode::OperationInvalid, tr("the guest '%s' is rebooting"), facts_.name.c_str());
    if (!domid_)
        return makeError(ErrorCode::OperationInvalid, tr("the guest '%s' is not whole yet"), facts_.name.c_str());
    return *domid_;
}

Result<void> XenGuest::run(const std::string &what, const Step &step, Opening open)
{
    const uint32_t domain = TRY(domid());
    auto operation = TRY(open());
    return operation->run(inContext(what.c_str()), [&](libxl_ctx *ctx, const libxl_asyncop_how *how) {
        return step(ctx, domain, how);
    });
}

Result<void> XenGuest::requireNotHost() const
{
    std::lock_guard lock(mutex_);
    if (domid_ == hostDomid)
        return makeError(ErrorCode::OperationInvalid, "%s", tr("Domain-0 is this host itself, and no guest of it"));
    return {};
}

Result<void> XenGuest::info(Context &context, DomainInfo &out)
{
    return context.check(libxl_domain_info(context, out.get(), TRY(domid())), inContext(tr("asking for its state")));
}

bool XenGuest::running() const
{
    return running_;
}

// ---- lifecycle ---------------------------------------------------------------------------

Result<void> XenGuest::pause(StopCause)
{
    TRY(requireNotHost());
    {
        std::lock_guard lock(mutex_);
        if (transfer_) {
            // It must run to answer the request to suspend: it stays stopped after that.
            pauseWanted_ = true;
            return {};
        }
    }
    TRY(run(tr("pausing it"), [](libxl_ctx *ctx, uint32_t domain, const libxl_asyncop_how *how) {
        return libxl_domain_pause(ctx, domain, how);
    }, Operation::open));
    setRunning(false);
    return {};
}

Result<void> XenGuest::unpause()
{
    bool suspended = false;
    {
        std::lock_guard lock(mutex_);
        suspended = suspended_;
        pauseWanted_ = false;
        if (transfer_)
            return {};
    }
    if (suspended)
        return resume(ResumeMode::Fast);
    // libxl reads there whether a guest that is not PV has a device model.
    const bool pv = facts_.osType == VIR_DOMAIN_OSTYPE_LINUX || facts_.osType == VIR_DOMAIN_OSTYPE_XEN;
    TRY(run(tr("unpausing it"), [](libxl_ctx *ctx, uint32_t domain, const libxl_asyncop_how *how) {
        return libxl_domain_unpause(ctx, domain, how);
    }, pv ? Operation::open : Operation::withXenstore));
    setRunning(true);
    return {};
}

Result<void> XenGuest::shutdown()
{
    TRY(requireNotHost());
    const uint32_t domain = TRY(domid());
    auto operation = TRY(Operation::withXenstore());
    auto asked = operation->run(inContext(tr("asking it to shut down")),
                                [&](libxl_ctx *ctx, const libxl_asyncop_how *how) {
                                    return libxl_domain_shutdown(ctx, domain, how);
                                });
    if (asked || operation->code() != ERROR_NOPARAVIRT)
        return asked;
    // Without drivers for Xen the guest has a power button.
    return operation->run(inContext(tr("pressing its power button")),
                          [&](libxl_ctx *ctx, const libxl_asyncop_how *how) {
                              return libxl_send_trigger(ctx, domain, LIBXL_TRIGGER_POWER, 0, how);
                          });
}

Result<void> XenGuest::reboot()
{
    TRY(requireNotHost());
    return run(tr("asking it to reboot"), [](libxl_ctx *ctx, uint32_t domain, const libxl_asyncop_how *how) {
        return libxl_domain_reboot(ctx, domain, how);
    });
}

Result<void> XenGuest::reset()
{
    if (facts_.osType != VIR_DOMAIN_OSTYPE_HVM)
        return unsupported(tr("resetting a guest without an emulated machine"));
    return run(tr("resetting it"), [](libxl_ctx *ctx, uint32_t domain, const libxl_asyncop_how *how) {
        return libxl_send_trigger(ctx, domain, LIBXL_TRIGGER_RESET, 0, how);
    });
}

Result<void> XenGuest::destroy(bool)
{
    // It would fail, but not before libxl has taken away what xenstore knows of the host, which then
    // starts no guest any more.
    TRY(requireNotHost());
    std::optional<uint32_t> domain;
    std::shared_ptr<Transfer> moving;
    {
        std::unique_lock lock(mutex_);
        destroying_ = true;
        changed_.wait(lock, [this] { return life_ != Life::Rebooting; });
        domain = life_ == Life::Dead ? std::nullopt : domid_;
        moving = transfer_;
    }
    if (moving)
        moving->abort({});
    if (receiver_.joinable()) {
        receiver_.join();
        std::lock_guard lock(mutex_);
        domain = domid_;
    }
    if (!domain)
        return {};
    const auto stays = [this](Result<void> why) {
        std::lock_guard lock(mutex_);
        destroying_ = false;
        return why;
    };
    auto operation = Operation::withXenstore();
    if (!operation)
        return stays(std::move(operation).error());
    host_.watcher.forget(*domain);
    auto gone = (*operation)->run(inContext(tr("destroying it")), [&](libxl_ctx *ctx, const libxl_asyncop_how *how) {
        return libxl_domain_destroy(ctx, *domain, how);
    });
    if (!gone && (*operation)->code() != ERROR_DOMAIN_NOTFOUND)
        return stays(std::move(gone));
    setRunning(false);
    std::lock_guard lock(mutex_);
    life_ = Life::Dead;
    listener_.reset();
    return {};
}

// ---- what it looks like ------------------------------------------------------------------

/// Xen's console daemon makes a terminal soon after the domain is there.
static std::string terminal(Context &context, uint32_t domid, int number, libxl_console_type type)
{
    constexpr int tries = 40;
    for (int i = 0; i < tries; i++) {
        char *path = nullptr;
        const int failed = libxl_console_get_tty(context, domid, number, type, &path);
        const LibxlText owner(path);
        if (!failed && path && *path)
            return path;
        usleep(50000);
    }
    log(LogLevel::Warning, "domain %u has no terminal for its console", domid);
    return {};
}

void XenGuest::readTerminals(Context &context, uint32_t domid)
{
    std::string pv = facts_.xenConsole ? terminal(context, domid, 0, LIBXL_CONSOLE_TYPE_PV) : std::string();
    std::vector<std::string> serials;
    for (int i = 0; i < facts_.serials; i++)
        serials.push_back(terminal(context, domid, i, LIBXL_CONSOLE_TYPE_SERIAL));
    std::lock_guard lock(mutex_);
    pvTerminal_ = std::move(pv);
    serialTerminals_ = std::move(serials);
}

static void setTerminal(virDomainChrDef *device, const std::string &path)
{
    if (path.empty() || device->source->type != VIR_DOMAIN_CHR_TYPE_PTY)
        return;
    g_free(device->source->data.file.path);
    device->source->data.file.path = g_strdup(path.c_str());
}

static void nameInterfaces(virDomainDef *def, uint32_t domid)
{
    const bool hvm = def->os.type == VIR_DOMAIN_OSTYPE_HVM;
    int index = 0;
    for (size_t i = 0; i < def->nnets; i++) {
        virDomainNetDef *net = def->nets[i];
        if (virDomainNetGetActualType(net) == VIR_DOMAIN_NET_TYPE_HOSTDEV)
            continue;
        const int device = index++;
        // A name of the user's own stays; ours follows the domain's number.
        if (net->ifname && !STRPREFIX(net->ifname, "vif"))
            continue;
        const bool emulated = hvm && net->model != VIR_DOMAIN_NET_MODEL_NETFRONT;
        g_free(net->ifname);
        net->ifname = g_strdup_printf("vif%u.%d%s", domid, device, emulated ? "-emu" : "");
    }
}

Result<void> XenGuest::describe(virDomainDef *def)
{
    std::lock_guard lock(mutex_);
    if (!domid_)
        return {};
    def->id = static_cast<int>(*domid_);
    for (size_t i = 0; i < def->nserials && i < serialTerminals_.size(); i++)
        setTerminal(def->serials[i], serialTerminals_[i]);
    if (def->nconsoles) {
        const bool serial = def->consoles[0]->targetType == VIR_DOMAIN_CHR_CONSOLE_TARGET_TYPE_SERIAL;
        setTerminal(def->consoles[0], !serial ? pvTerminal_ : serialTerminals_.empty() ? "" : serialTerminals_[0]);
    }
    for (size_t i = 0; i < def->ngraphics && i < ports_.ports().size(); i++) {
        if (const int port = ports_.ports()[i])
            (def->graphics[i]->type == VIR_DOMAIN_GRAPHICS_TYPE_SPICE ? def->graphics[i]->data.spice.port
                                                                      : def->graphics[i]->data.vnc.port) = port;
    }
    nameInterfaces(def, *domid_);
    virDomainDefSetMemoryTotal(def, wholeMib(virDomainDefGetMemoryInitial(def)));
    def->mem.cur_balloon = wholeMib(def->mem.cur_balloon);
    return {};
}

void XenGuest::formatStatus(virBuffer *out)
{
    std::lock_guard lock(mutex_);
    virBufferAddLit(out, "<xen");
    const std::vector<int> &chosen = ports_.ports();
    for (size_t i = 0; i < chosen.size(); i++)
        virBufferAsprintf(out, "%s%d", i ? " " : " ports='", chosen[i]);
    virBufferAdd(out, chosen.empty() ? "/>\n" : "'/>\n", -1);
}

} // namespace godwit::hypervisor::xen
