// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "hypervisor/hypervisor.h"
#include "hypervisor/machine/event_loop.h"
#include "hypervisor/machine/process.h"
#include "hypervisor/machine/qmp.h"

#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>

namespace godwit::hypervisor::machine {

/// A VNC port, ours until destroyed.
class PortLease
{
public:
    PortLease() = default;
    explicit PortLease(unsigned short port) : port_(port) {}
    PortLease(PortLease &&other) noexcept : port_(std::exchange(other.port_, 0)) {}
    PortLease &operator=(PortLease &&other) noexcept
    {
        std::swap(port_, other.port_);
        return *this;
    }
    ~PortLease()
    {
        if (port_)
            virPortAllocatorRelease(port_);
    }
    unsigned short port() const { return port_; }

private:
    unsigned short port_ = 0;
};

/// What stays the same as long as the guest lives. Kept apart from the definition, which
/// belongs to the driver and may change.
struct GuestFacts {
    std::string name;
    std::string runDir;
    std::string logPath;
    std::string helper;                     ///< path of godwit-helper
    uint64_t ramBytes = 0;
    int ramFdInGuest = -1;                  ///< the RAM file's number inside QEMU
    bool hasBalloon = false;
    bool hasVideo = false;
    std::string videoAlias, balloonAlias;
    std::vector<std::string> diskAliases;   ///< by the disk's index
    std::vector<std::string> tapNames;      ///< by the NIC's index; empty: none
    int vncPort = 0;
    int onCrash = VIR_DOMAIN_LIFECYCLE_ACTION_DESTROY;

    static GuestFacts of(const CreateRequest &request);
};

class HelperProcess;
class PendingMemory;
class Transfer;
struct PageSupply;
struct PendingStatus;

/// A guest that QEMU runs. Events come in on the event thread, calls on workers; what they
/// share stands below `mutex_`.
class MachineGuest : public Guest, public std::enable_shared_from_this<MachineGuest>
{
public:
    MachineGuest(std::shared_ptr<EventLoop> loop, GuestFacts facts, Process process, base::UniqueFd ram, LogTail log,
                 std::shared_ptr<GuestListener> listener, PortLease vncPort);
    ~MachineGuest() override;

    // ---- how it comes into being (launch.cpp)
    /// Take over a connection to the monitor and follow its events.
    base::Result<void> connect(base::UniqueFd monitor, std::chrono::seconds patience);
    /// What the command line could not say.
    base::Result<void> configure(const virDomainDef *def, bool incoming);
    /// Look at a guest that ran before this process began.
    base::Result<void> takeUp(bool fakeReboot);
    base::Result<void> collectDescription();
    /// Let a stream fill the guest; returns once it can be filled.
    base::Result<void> beginReceiving(ReceiveRequest &request);
    /// The agent's answer to GODWIT_RAM with a socket: whether memory can come on demand.
    void takeFaults(int socket);
    /// Pages were missing when an earlier process ended. Before anybody speaks to QEMU, which
    /// may itself wait for one.
    base::Result<void> takeUpPages(PendingStatus status);
    /// End a guest that never came to be; its listener is told nothing.
    void discard();

    // ---- Guest
    pid_t pid() const override { return process_.pid(); }
    bool running() const override { return running_; }
    base::Result<void> pause(StopCause cause) override;
    base::Result<void> unpause() override;
    base::Result<void> shutdown() override;
    base::Result<void> reboot() override;
    base::Result<void> reset() override;
    base::Result<void> destroy(bool graceful) override;
    bool canAlign() const override { return true; }
    bool memoryPending() override;
    base::Result<TransferProgress> save(SaveRequest request) override;
    base::Result<void> resume(ResumeMode mode) override;
    base::Result<TransferProgress> finishReceiving(TransferObserver *observer) override;
    bool mayBeWhole() override;
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

    // ---- told by what brings its memory, on the event thread
    void memoryStalled();
    void memoryComplete();
    /// This helper brings the guest's pages from now on.
    void serveBy(std::shared_ptr<HelperProcess> helper);

    // ---- for transfers
    const GuestFacts &facts() const { return facts_; }
    const std::shared_ptr<EventLoop> &loop() const { return loop_; }
    Qmp &qmp() { return *qmp_; }
    const Process &process() const { return process_; }
    /// Whether the emulator has ended, and how. On the event thread.
    std::optional<base::Error> end();
    /// What the emulator wrote before it ended.
    std::string lastWords() const { return log_.text(); }

private:
    base::Result<Json> call(const char *command, Json arguments = {});
    base::Result<std::string> runState();
    /// The next stop has this cause.
    void expectStop(StopCause cause);
    void watchProcess();

    // ---- transfers (guest_transfer.cpp)
    base::Result<void> prepareMigration();
    base::Result<std::shared_ptr<HelperProcess>> startFilling(ReceiveRequest &request, int state);
    base::Result<std::shared_ptr<HelperProcess>> startOnDemand(ReceiveRequest &request, int state);
    base::Result<void> waitForMemory(TransferObserver *observer);
    std::shared_ptr<PendingMemory> pending();
    base::Result<base::UniqueFd> handPipe(bool write);
    base::Result<std::shared_ptr<Transfer>> beginSaving(SaveRequest &request, bool running);
    /// Make sure that no migration of QEMU's is under way. One that it had not completed ends with the guest
    /// running again, if it ran.
    base::Result<void> settleMigration();
    base::Error undoSave(base::Error cause, Transfer &transfer, bool wasRunning);

    base::Result<void> applyVnc(const virDomainDef *def);
    base::Result<void> applyLinks(const virDomainDef *def);

    // ---- events (guest_events.cpp): the event thread
    void onEvent(const std::string &name, const Json &data);
    void onStop();
    void onRun();
    void onShutdown(const Json &data);
    void onPanic();
    void onBlockError(const Json &data);
    void onMigration(const Json &data);
    void onMonitorClosed(const base::Error &why);
    void onProcessEnd();
    void rebootInPlace();
    base::Result<void> rebootNow();
    void rebootFailed(const base::Error &why);
    void quit();
    std::shared_ptr<GuestListener> listener();
    std::shared_ptr<Transfer> transfer();

    const std::shared_ptr<EventLoop> loop_;
    GuestFacts facts_;
    Process process_;
    base::UniqueFd ram_;
    const LogTail log_;
    PortLease vncPort_;
    std::shared_ptr<Qmp> qmp_;
    std::atomic<bool> running_{false};
    Watch processWatch_, hangWatch_;   // event thread

    std::mutex mutex_;
    std::shared_ptr<GuestListener> listener_;
    std::optional<DeathCause> deathCause_;   ///< as far as it is known before it happens
    bool dead_ = false;
    bool fakeReboot_ = false;
    bool shutDown_ = false;
    StopCause stopCause_ = StopCause::Unknown;
    std::shared_ptr<Transfer> transfer_;
    bool receiving_ = false;
    bool whole_ = false;   ///< received: the source may have been told so
    bool fromFile_ = false, onDemand_ = false;
    std::shared_ptr<PendingMemory> pending_;   ///< of a restore on demand, until all pages are in
    base::UniqueFd faults_;                    ///< the agent's userfaultfd, until pending_ has it
    int faultsInGuest_ = -1;
    std::map<std::string, std::string> ptys_;   ///< alias → path
};

} // namespace godwit::hypervisor::machine
