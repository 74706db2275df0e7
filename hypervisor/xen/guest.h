// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "hypervisor/hypervisor.h"
#include "hypervisor/xen/errands.h"
#include "hypervisor/xen/events.h"
#include "hypervisor/xen/relay.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>

namespace godwit::hypervisor::xen {

/// Domain-0, which is this host itself.
inline constexpr uint32_t hostDomid = 0;

/// What a guest needs of its host.
struct GuestHost {
    Watcher &watcher;
    Errands &errands;
    std::string helper;    ///< path of godwit-helper
    std::string dumpDir;
};

/// What stays the same as long as the guest lives. Kept apart from the definition, which
/// belongs to the driver and may change.
struct GuestFacts {
    std::string name;
    int osType = 0;
    int onPoweroff = 0, onReboot = 0, onCrash = 0;
    int serials = 0;                  ///< serial ports with a terminal, before the first without
    bool xenConsole = false;          ///< its first console is Xen's own, not a serial port
    unsigned long long maxMemoryKib = 0;

    static GuestFacts of(const virDomainDef *def);
};

/// Chosen ports of graphics devices, given back when nobody needs them any more.
class GraphicsPorts
{
public:
    GraphicsPorts() = default;
    GraphicsPorts(GraphicsPorts &&other) noexcept : ports_(std::move(other.ports_)) { other.ports_.clear(); }
    GraphicsPorts &operator=(GraphicsPorts &&other) noexcept
    {
        std::swap(ports_, other.ports_);
        return *this;
    }
    ~GraphicsPorts();
    /// Choose for every device of `def` that leaves it to us.
    static base::Result<GraphicsPorts> choose(const virDomainDef *def, const virPortAllocatorRange *range);
    /// By index; 0: as defined.
    const std::vector<int> &ports() const { return ports_; }

private:
    std::vector<int> ports_;
};

/// A guest that Xen runs. Its number changes with each reboot, for which the domain is made
/// anew. Events come in on the watcher's thread, calls on workers; what they share stands
/// below `mutex_`. What an event asks for takes time, so it is an errand.
///
///   Alive      the domain exists
///   Rebooting  an errand makes the domain anew
///   Dead       destroyed, or its end was told
class XenGuest : public Guest, public DomainWatch, public std::enable_shared_from_this<XenGuest>
{
public:
    XenGuest(GuestHost host, GuestFacts facts, std::shared_ptr<GuestListener> listener, GraphicsPorts ports);
    ~XenGuest() override;

    // ---- how it comes into being
    /// The domain `domid` is this guest's from now on.
    base::Result<void> attach(uint32_t domid);
    /// The same for one that runs already: it is this guest also if nobody can follow what becomes of it.
    base::Result<void> takeUp(uint32_t domid);
    /// Let a stream fill a new domain, described by `config`, which is read here and now.
    base::Result<void> beginReceiving(ReceiveRequest request, std::unique_ptr<DomainConfig> config);

    // ---- Guest
    pid_t pid() const override { return 0; }
    bool running() const override;
    base::Result<void> pause(StopCause cause) override;
    base::Result<void> unpause() override;
    base::Result<void> shutdown() override;
    base::Result<void> reboot() override;
    base::Result<void> reset() override;
    base::Result<void> destroy(bool graceful) override;
    base::Result<TransferProgress> save(SaveRequest request) override;
    base::Result<void> resume(ResumeMode mode) override;
    base::Result<TransferProgress> finishReceiving(TransferObserver *observer) override;
    base::Result<void> abortTransfer(const std::string &failure) override;
    base::Result<void> setLimits(const TransferLimits &limits) override;
    base::Result<void> describe(virDomainDef *def) override;
    void formatStatus(virBuffer *out) override;
    base::Result<std::vector<VcpuStatus>> vcpus() override;
    base::Result<BlockStats> blockStats(const std::string &diskAlias) override;
    base::Result<BalloonStats> balloonStats() override;
    base::Result<void> setBalloon(uint64_t kib) override;
    base::Result<void> setBalloonPeriod(unsigned seconds) override;
    base::Result<void> sendKeys(const std::vector<unsigned> &qnums, unsigned holdMs) override;
    base::Result<base::UniqueFd> screenshot(unsigned screen) override;
    base::Result<void> injectNmi() override;
    base::Result<CpuTimes> cpuTimes() override;
    base::Result<std::vector<VcpuFigures>> vcpuFigures() override;
    base::Result<uint64_t> residentKib() override;
    base::Result<CpuSet> vcpuAffinity(unsigned id) override;
    base::Result<void> setVcpuAffinity(unsigned id, virBitmap *cpus) override;
    base::Result<NodeSet> nodeAffinity() override;
    base::Result<void> setMaxMemory(uint64_t kib) override;
    base::Result<void> setVcpus(unsigned count) override;
    base::Result<void> attachDevice(const virDomainDef *def, virDomainDeviceDef *device) override;
    base::Result<void> detachDevice(const virDomainDef *def, virDomainDeviceDef *device) override;
    base::Result<void> updateDevice(const virDomainDef *def, virDomainDeviceDef *device) override;
    base::Result<SchedulerParameters> schedulerParameters() override;
    base::Result<void> setSchedulerParameters(const SchedulerParameters &parameters) override;
    base::Result<void> dumpCore(const std::string &path) override;

    // ---- DomainWatch
    void domainShutDown(libxl_shutdown_reason reason) override;
    void domainGone() override;

private:
    enum class Life { Alive, Rebooting, Ending, Dead };   // Ending: it shut down, and we destroy what is left
    struct Transfer;

    /// The domain's number; an error if there is no domain (yet, or any more).
    base::Result<uint32_t> domid() const;
    /// One operation of libxl's on this guest's domain.
    using Step = std::function<int(libxl_ctx *ctx, uint32_t domid, const libxl_asyncop_how *how)>;
    using Opening = base::Result<std::unique_ptr<Operation>> (*)();
    base::Result<void> run(const std::string &what, const Step &step, Opening open = Operation::withXenstore);
    /// Domain-0 is the host: what would end, stop or move a guest is refused for it.
    base::Result<void> requireNotHost() const;
    base::Result<void> info(Context &context, DomainInfo &out);
    std::string inContext(const char *what) const;
    base::Result<void> attachUsb(const std::string &what, Usb &usb);
    base::Result<void> detachUsb(const std::string &what, Usb &usb);
    using PciCall = int(libxl_ctx *, uint32_t domain, libxl_device_pci *, const libxl_asyncop_how *);
    using UsbChange = base::Result<void> (XenGuest::*)(const std::string &what, Usb &usb);
    base::Result<void> changeHostDevice(const std::string &what, const virDomainDeviceDef *device, PciCall *changePci,
                                        UsbChange changeUsb);
    std::shared_ptr<GuestListener> listener();
    void setRunning(bool running) { running_ = running; }

    // ---- its end (guest_events.cpp): errands
    void settle(uint32_t domid, libxl_shutdown_reason reason);
    void poweredOff(uint32_t domid, int action, DeathCause cause, bool crashed);
    void rebootInPlace(uint32_t domid);
    base::Result<uint32_t> makeAnew(uint32_t domid);
    base::Result<void> renewSurroundings(uint32_t domid);
    void softReset(uint32_t domid);
    void die(DeathCause cause);

    // ---- transfers (guest_transfer.cpp)
    base::Result<TransferProgress> saveWith(Transfer &transfer, SaveRequest &request);
    base::Result<void> resumeFast(Operation &operation, uint32_t domid);
    base::Result<void> resumeSlowly(uint32_t domid);
    base::Error undoSave(base::Error cause, bool wasPaused);
    base::Result<TransferProgress> receive(Transfer &transfer, ReceiveRequest &request, libxl_domain_config *config);
    base::Result<base::UniqueFd> startRelay(Transfer &transfer, control::Relay order,
                                            const std::optional<TlsSettings> &tls, std::vector<int> fds);
    base::Result<base::UniqueFd> streamOf(Transfer &transfer, SaveRequest &request);
    base::Result<base::UniqueFd> streamOf(Transfer &transfer, ReceiveRequest &request);
    base::Result<void> waitForPeer(Transfer &transfer, int fd, int timeout);
    base::Result<base::UniqueFd> acceptPeer(Transfer &transfer, const ReceiveRequest &request);
    std::shared_ptr<Transfer> transfer() const;

    void readTerminals(Context &context, uint32_t domid);

    GuestHost host_;
    const GuestFacts facts_;
    GraphicsPorts ports_;
    std::atomic<bool> running_{false};

    std::mutex resumption_;             ///< one resumes at a time; taken before mutex_
    mutable std::mutex mutex_;
    std::condition_variable changed_;   ///< of life_
    std::shared_ptr<GuestListener> listener_;
    Life life_ = Life::Alive;
    std::optional<uint32_t> domid_;
    bool destroying_ = false;
    bool pauseWanted_ = false;          ///< asked for while the guest was being moved
    bool suspended_ = false;            ///< by a save that succeeded: nobody else's to resume
    std::shared_ptr<Transfer> transfer_;
    std::thread receiver_;
    std::string pvTerminal_;
    std::vector<std::string> serialTerminals_;
};

} // namespace godwit::hypervisor::xen
