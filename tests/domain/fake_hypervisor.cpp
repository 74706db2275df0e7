// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/domain/fake_world.h"

#include "base/strprintf.h"
#include "conf/handle.h"
#include "hypervisor/machine/event_loop.h"
#include "hypervisor/machine/machine.h"

#include <fcntl.h>
#include <future>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>

namespace godwit::tests {

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::systemError;
using hypervisor::GuestListener;
using hypervisor::StopCause;
using hypervisor::StreamKind;
using hypervisor::TransferProgress;
using hypervisor::machine::EventLoop;

// ---- FakeGuest ----------------------------------------------------------------------

class FakeGuest : public hypervisor::Guest
{
public:
    FakeGuest(std::shared_ptr<FakeMachine> machine, std::shared_ptr<EventLoop> loop)
        : machine_(std::move(machine)), loop_(std::move(loop))
    {
    }

    /// Where received memory comes from; set before anybody else knows the guest.
    void setSource(hypervisor::ReceiveRequest request) { source_ = std::move(request); }

    pid_t pid() const override { return getpid(); }
    bool running() const override { return machine_->running(); }

    Result<void> pause(StopCause cause) override
    {
        TRY(FakeWorld::get().step("pause"));
        set(false);
        machine_->tell([cause](GuestListener &listener) { listener.guestPaused(cause); });
        return {};
    }
    Result<void> unpause() override
    {
        TRY(FakeWorld::get().step("unpause"));
        set(true);
        machine_->tell([](GuestListener &listener) { listener.guestRunning(); });
        return {};
    }
    Result<void> shutdown() override
    {
        machine_->powerOff();
        return {};
    }
    Result<void> reboot() override { return reset(); }
    Result<void> reset() override
    {
        machine_->reset();
        return {};
    }
    Result<void> destroy(bool) override
    {
        TRY(FakeWorld::get().step("destroy"));
        die();
        machine_->tell([](GuestListener &listener) { listener.guestDied(hypervisor::DeathCause::Destroyed); });
        return {};
    }
    Result<void> resume(hypervisor::ResumeMode) override
    {
        TRY(FakeWorld::get().step("resume"));
        set(true);
        return {};
    }

    Result<TransferProgress> save(hypervisor::SaveRequest request) override;
    Result<TransferProgress> finishReceiving(hypervisor::TransferObserver *observer) override;
    Result<void> abortTransfer(const std::string &failure) override;
    Result<void> setLimits(const hypervisor::TransferLimits &limits) override
    {
        std::lock_guard lock(machine_->mutex_);
        machine_->limits_ = limits;
        return {};
    }

    Result<void> describe(virDomainDef *def) override;
    void formatStatus(virBuffer *out) override { virBufferAsprintf(out, "<fake id='%u'/>\n", machine_->id); }

    Result<std::vector<hypervisor::VcpuStatus>> vcpus() override
    {
        return std::vector<hypervisor::VcpuStatus>{{0, gettid(), false}};
    }
    Result<hypervisor::BlockStats> blockStats(const std::string &alias) override
    {
        if (alias != "disk0")
            return makeError(ErrorCode::InvalidArgument, "no disk '%s'", alias.c_str());
        return hypervisor::BlockStats{1, 512, 10, 2, 1024, 20, 3, 30};
    }
    Result<hypervisor::BalloonStats> balloonStats() override
    {
        hypervisor::BalloonStats stats;
        stats.actualKib = machine_->balloonKib();
        stats.unusedKib = 1000;
        return stats;
    }
    Result<void> setBalloon(uint64_t kib) override
    {
        TRY(FakeWorld::get().step("balloon"));
        {
            std::lock_guard lock(machine_->mutex_);
            machine_->balloonKib_ = kib;
        }
        machine_->tell([kib](GuestListener &listener) { listener.balloonChanged(kib); });
        return {};
    }
    Result<void> setBalloonPeriod(unsigned) override { return {}; }
    Result<void> sendKeys(const std::vector<unsigned> &, unsigned) override { return FakeWorld::get().step("keys"); }
    Result<base::UniqueFd> screenshot(unsigned) override
    {
        base::UniqueFd picture(memfd_create("screen", MFD_CLOEXEC));
        static constexpr char text[] = "P6\n1 1\n255\nabc";
        if (!picture || pwrite(picture.get(), text, sizeof text - 1, 0) < 0)
            return systemError(errno, "screenshot");
        return picture;
    }
    Result<void> injectNmi() override { return FakeWorld::get().step("nmi"); }

private:
    void set(bool running)
    {
        std::lock_guard lock(machine_->mutex_);
        machine_->running_ = running;
    }
    void die()
    {
        std::lock_guard lock(machine_->mutex_);
        machine_->alive_ = machine_->running_ = false;
    }
    bool aborted();
    void report(hypervisor::TransferObserver *observer, const TransferProgress &progress);
    Result<void> waitWhileHeld(hypervisor::TransferObserver *observer);
    Result<base::UniqueFd> openSource();

    std::shared_ptr<FakeMachine> machine_;
    std::shared_ptr<EventLoop> loop_;
    std::optional<hypervisor::ReceiveRequest> source_;
    bool aborted_ = false;
    std::string abortCause_;   ///< guarded by the world's mutex
};

/// Observers are told on the event thread, and are gone when the transfer's call returns.
void FakeGuest::report(hypervisor::TransferObserver *observer, const TransferProgress &progress)
{
    if (!observer)
        return;
    std::promise<void> told;
    loop_->post([&] {
        observer->transferProgress(progress);
        told.set_value();
    });
    told.get_future().wait();
}

Result<void> FakeGuest::waitWhileHeld(hypervisor::TransferObserver *observer)
{
    FakeWorld &world = FakeWorld::get();
    std::unique_lock lock(world.mutex_);
    if (world.held_) {
        const TransferProgress progress = *world.held_;
        lock.unlock();
        report(observer, progress);
        lock.lock();
        world.heldNow_++;
        world.changed_.notify_all();
        world.changed_.wait(lock, [&] { return aborted_ || !world.held_; });
        world.heldNow_--;
    }
    if (std::exchange(aborted_, false))
        return abortCause_.empty() ? makeError(ErrorCode::Aborted, "aborted by the user")
                                   : makeError(ErrorCode::OperationFailed, "%s", abortCause_.c_str());
    return {};
}

bool FakeGuest::aborted()
{
    std::lock_guard lock(FakeWorld::get().mutex_);
    return aborted_;
}

Result<void> FakeGuest::abortTransfer(const std::string &failure)
{
    FakeWorld &world = FakeWorld::get();
    std::lock_guard lock(world.mutex_);
    aborted_ = true;
    abortCause_ = failure;
    world.changed_.notify_all();
    return {};
}

/// The stream: the secret and a line break where it goes over a wire, then the memory.
Result<TransferProgress> FakeGuest::save(hypervisor::SaveRequest request)
{
    (void)setLimits(request.limits ? request.limits() : hypervisor::TransferLimits()).has_value();
    TRY(waitWhileHeld(request.observer));
    TRY(FakeWorld::get().step("save"));
    TransferProgress progress;
    const std::string memory = machine_->memory();
    progress.memoryTotal = progress.memoryProcessed = progress.bytesSent = memory.size();
    progress.elapsed = 7;
    progress.downtime = 3;
    progress.iteration = 1;
    report(request.observer, progress);
    const std::string text = (request.kind == StreamKind::Channel ? request.secret + "\n" : "") + memory;
    if (::write(request.stream.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
        return systemError(errno, "writing the stream");
    set(false);
    return progress;
}

Result<base::UniqueFd> FakeGuest::openSource()
{
    if (source_->kind != StreamKind::Listener)
        return std::move(source_->stream);
    for (unsigned waitedMs = 0; waitedMs < 5000 && !aborted(); waitedMs += 20) {
        pollfd wait{source_->stream.get(), POLLIN, 0};
        if (poll(&wait, 1, 20) > 0)
            return base::UniqueFd(accept4(source_->stream.get(), nullptr, nullptr, SOCK_CLOEXEC));
    }
    return makeError(ErrorCode::TimedOut, "nobody connected");
}

Result<TransferProgress> FakeGuest::finishReceiving(hypervisor::TransferObserver *observer)
{
    Result<TransferProgress> received = [&]() -> Result<TransferProgress> {
        TRY(FakeWorld::get().step("finish"));
        const base::UniqueFd stream = TRY(openSource());
        std::string memory;
        char chunk[4096];
        for (ssize_t got = 0; (got = ::read(stream.get(), chunk, sizeof chunk)) > 0;)
            memory.append(chunk, static_cast<size_t>(got));
        if (source_->kind == StreamKind::Listener && !source_->secret.empty()) {
            if (!memory.starts_with(source_->secret + "\n"))
                return makeError(ErrorCode::OperationFailed, "the source did not present the secret");
            memory.erase(0, source_->secret.size() + 1);
        }
        if (memory.empty())
            return makeError(ErrorCode::BadFormat, "the stream is empty");
        machine_->setMemory(std::move(memory));
        return TransferProgress{};
    }();
    if (!received)
        die();
    else
        report(observer, *received);
    return received;
}

Result<void> FakeGuest::describe(virDomainDef *def)
{
    TRY(FakeWorld::get().step("describe"));
    for (virDomainChrDef **serial = def->serials; serial < def->serials + def->nserials; serial++) {
        if ((*serial)->source->type != VIR_DOMAIN_CHR_TYPE_PTY)
            continue;
        g_free((*serial)->source->data.file.path);
        (*serial)->source->data.file.path = g_strdup(machine_->consolePath_.c_str());
    }
    return {};
}

// ---- FakeHypervisor -----------------------------------------------------------------

class FakeHypervisor : public hypervisor::Hypervisor
{
public:
    explicit FakeHypervisor(hypervisor::MachineSettings settings) : loop_(EventLoop::open(settings.eventContext)) {}
    ~FakeHypervisor() override { loop_->close(); }

    Result<virCaps *> capabilities() override;
    Result<virDomainCaps *> domainCapabilities(const char *emulator, const char *arch, const char *machine,
                                               const char *virtType) override;
    Result<unsigned long> version() override { return 1002003ul; }

    Result<void> complete(virDomainDef *def) override
    {
        if (!def->os.machine)
            def->os.machine = g_strdup("fake");
        return {};
    }
    Result<void> assignAddresses(virDomainDef *) override { return {}; }
    Result<void> completeDevice(virDomainDeviceDef *device, const virDomainDef *) override
    {
        if (device->type == VIR_DOMAIN_DEVICE_VIDEO && device->data.video->type == VIR_DOMAIN_VIDEO_TYPE_DEFAULT)
            device->data.video->type = VIR_DOMAIN_VIDEO_TYPE_VGA;
        return {};
    }
    Result<void> checkSupport(const virDomainDef *def) override
    {
        if (def->nhostdevs && def->hostdevs[0]->source.subsys.type != VIR_DOMAIN_HOSTDEV_SUBSYS_TYPE_PCI)
            return makeError(ErrorCode::Unsupported, "<hostdev> is not supported but of type PCI");
        if (virDomainDefGetVcpusMax(def) > 8)
            return makeError(ErrorCode::Unsupported, "more than 8 vCPUs are not supported");
        return {};
    }
    Result<void> checkLive(const virDomainDef *) override { return FakeWorld::get().step("live"); }
    Result<void> assignAliases(virDomainDef *def) override;

    Result<std::shared_ptr<hypervisor::Guest>> create(hypervisor::CreateRequest request) override;
    Result<std::shared_ptr<hypervisor::Guest>> receive(hypervisor::ReceiveRequest request) override;
    Result<std::unique_ptr<hypervisor::GuestStatus>> parseStatus(xmlXPathContextPtr context) override;
    Result<std::shared_ptr<hypervisor::Guest>> adopt(hypervisor::CreateRequest request,
                                                     const hypervisor::GuestStatus &status) override;

private:
    std::shared_ptr<FakeGuest> watch(std::shared_ptr<FakeMachine> machine, std::shared_ptr<GuestListener> listener);

    std::shared_ptr<EventLoop> loop_;
};

struct FakeStatus : hypervisor::GuestStatus {
    unsigned id = 0;
};

Result<virCaps *> FakeHypervisor::capabilities()
{
    auto capabilities = conf::ObjectRef<virCaps>::adopt(virCapabilitiesNew(VIR_ARCH_X86_64, true, true));
    capabilities->host.numa = virCapabilitiesHostNUMANewHost();
    virCapsGuest *guest = virCapabilitiesAddGuest(capabilities.get(), VIR_DOMAIN_OSTYPE_HVM, VIR_ARCH_X86_64,
                                                  "/bin/true", nullptr, 0, nullptr);
    virCapabilitiesAddGuestDomain(guest, VIR_DOMAIN_VIRT_QEMU, nullptr, nullptr, 0, nullptr);
    return capabilities.release();
}

Result<virDomainCaps *> FakeHypervisor::domainCapabilities(const char *, const char *, const char *,
                                                           const char *virtType)
{
    if (virtType && STRNEQ(virtType, "qemu"))
        return makeError(ErrorCode::InvalidArgument, "domains of type '%s' are not supported", virtType);
    virDomainCaps *capabilities = virDomainCapsNew("/bin/true", "fake", VIR_ARCH_X86_64, VIR_DOMAIN_VIRT_QEMU);
    capabilities->maxvcpus = 8;
    return capabilities;
}

static void setAlias(virDomainDeviceInfo &info, const char *kind, size_t index)
{
    g_free(info.alias);
    info.alias = g_strdup_printf("%s%zu", kind, index);
}

Result<void> FakeHypervisor::assignAliases(virDomainDef *def)
{
    for (size_t i = 0; i < def->ndisks; i++)
        setAlias(def->disks[i]->info, "disk", i);
    for (size_t i = 0; i < def->nnets; i++)
        setAlias(def->nets[i]->info, "net", i);
    for (size_t i = 0; i < def->nserials; i++)
        setAlias(def->serials[i]->info, "serial", i);
    for (size_t i = 0; i < def->nconsoles; i++)
        setAlias(def->consoles[i]->info, "console", i);
    for (size_t i = 0; i < def->nchannels; i++)
        setAlias(def->channels[i]->info, "channel", i);
    return {};
}

std::shared_ptr<FakeGuest> FakeHypervisor::watch(std::shared_ptr<FakeMachine> machine,
                                                 std::shared_ptr<GuestListener> listener)
{
    auto guest = std::make_shared<FakeGuest>(machine, loop_);
    std::lock_guard lock(machine->mutex_);
    machine->watcher_ = [loop = loop_, listener = std::move(listener)](FakeMachine::Telling telling) {
        loop->post([listener, telling = std::move(telling)] { telling(*listener); });
    };
    return guest;
}

Result<std::shared_ptr<hypervisor::Guest>> FakeHypervisor::create(hypervisor::CreateRequest request)
{
    TRY(FakeWorld::get().step("create"));
    auto machine = FakeWorld::get().start(request.def->name, request.runDir);
    return std::shared_ptr<hypervisor::Guest>(watch(std::move(machine), std::move(request.listener)));
}

Result<std::shared_ptr<hypervisor::Guest>> FakeHypervisor::receive(hypervisor::ReceiveRequest request)
{
    TRY(FakeWorld::get().step("receive"));
    auto machine = FakeWorld::get().start(request.guest.def->name, request.guest.runDir);
    machine->setMemory("");
    auto guest = watch(std::move(machine), request.guest.listener);
    guest->setSource(std::move(request));
    return std::shared_ptr<hypervisor::Guest>(guest);
}

Result<std::unique_ptr<hypervisor::GuestStatus>> FakeHypervisor::parseStatus(xmlXPathContextPtr context)
{
    auto status = std::make_unique<FakeStatus>();
    if (virXPathUInt("string(./fake/@id)", context, &status->id) < 0)
        return makeError(ErrorCode::BadFormat, "the status names no fake");
    return std::unique_ptr<hypervisor::GuestStatus>(std::move(status));
}

Result<std::shared_ptr<hypervisor::Guest>> FakeHypervisor::adopt(hypervisor::CreateRequest request,
                                                                 const hypervisor::GuestStatus &status)
{
    TRY(FakeWorld::get().step("adopt"));
    auto machine = FakeWorld::get().byId(static_cast<const FakeStatus &>(status).id);
    if (!machine || !machine->alive())
        return makeError(ErrorCode::NoDomain, "its process is gone");
    auto guest = watch(machine, request.listener);
    const bool running = machine->running();
    machine->tell([running](GuestListener &listener) {
        if (running)
            listener.guestRunning();
        else
            listener.guestPaused(StopCause::Unknown);
    });
    return std::shared_ptr<hypervisor::Guest>(guest);
}

} // namespace godwit::tests

namespace godwit::hypervisor {

std::unique_ptr<Hypervisor> makeMachine(MachineSettings settings)
{
    return std::make_unique<tests::FakeHypervisor>(std::move(settings));
}

} // namespace godwit::hypervisor
