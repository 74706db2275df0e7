// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// The interface between the driver and what runs guests. Two implementations: machine/
// (QEMU over QMP) and xen/ (libxl).
//
// Threads. Every function of Guest and Hypervisor is thread-safe and may block; it is
// called from a worker (an API call's thread) that holds a job on the domain but NOT the
// domain's lock, and never from the Host's event thread. GuestListener is called on the
// Host's event thread, with no lock of ours held, and must not block.
//
// Definitions. A virDomainDef given to create() or receive() is read, never changed, and
// must stay as it is until the call returns (the caller's job sees to that). What is only
// known of a running guest (a pty's path, a VNC port) is written by describe().

#include "base/result.h"
#include "base/unique_fd.h"
#include "conf/handle.h"
#include "conf/libvirt.h"
#include "conf/libvirt_error.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace godwit::hypervisor {

/// Why a guest's vCPUs stand still.
enum class StopCause { Unknown, User, Saving, Migrating, IoError, Watchdog, Panicked, ShuttingDown, Rebooting };

/// Why a guest is no more.
enum class DeathCause { PoweredOff, Destroyed, Crashed, Failed };

/// What happens to a guest, told on the Host's event thread. A listener outlives its guest.
class GuestListener
{
public:
    virtual ~GuestListener() = default;
    virtual void guestPaused(StopCause cause) = 0;   ///< vCPUs stopped, asked for or not
    virtual void guestRunning() = 0;                 ///< vCPUs run (again)
    virtual void guestReset() = 0;                   ///< the guest rebooted in place
    virtual void guestShuttingDown() = 0;            ///< powered off from inside; death follows
    virtual void guestDied(DeathCause cause) = 0;    ///< last call; the process is gone
    virtual void balloonChanged(uint64_t kib) = 0;
    virtual void ioError(const std::string &alias, bool paused, const std::string &reason) = 0;
    virtual void watchdogFired(const std::string &action) = 0;
    virtual void clockChanged(int64_t offsetSeconds) = 0;
    virtual void trayMoved(const std::string &alias, bool open) = 0;
    virtual void channelStateChanged(const std::string &alias, bool open) = 0;
    virtual void imageError(const std::string &path, const std::string &reason) = 0;   ///< pages cannot be read
    virtual void memoryComplete() = 0;   ///< what was restored on demand is all there
};

/// How a transfer goes. All sizes in bytes, all times in milliseconds.
struct TransferProgress {
    uint64_t elapsed = 0;
    uint64_t memoryTotal = 0;
    uint64_t memoryProcessed = 0;
    uint64_t memoryRemaining = 0;
    uint64_t bytesSent = 0;          ///< on the wire or into the image, all included
    uint64_t normalPages = 0;        ///< pages sent with their data
    uint64_t constantPages = 0;      ///< zero or never touched: nothing sent
    uint64_t bandwidth = 0;          ///< bytes per second, measured
    uint64_t dirtyPagesPerSecond = 0;
    uint64_t iteration = 0;          ///< round, from 1
    uint64_t expectedDowntime = 0;
    uint64_t downtime = 0;           ///< measured: from the vCPUs' stop; 0 until then
    uint64_t setup = 0;              ///< until the first page was sent
    std::string tracker;             ///< how dirty pages are found
    uint64_t connections = 0;        ///< that carry the memory; 0: a file
    std::string restore;             ///< from an image: "on-demand" or "full"; else empty
};

/// Told how a long operation goes: on the Host's event thread, and must not block.
class TransferObserver
{
public:
    virtual ~TransferObserver() = default;
    virtual void transferProgress(const TransferProgress &progress) = 0;
};

/// Limits that may change while a transfer runs.
struct TransferLimits {
    uint64_t bandwidth = 0;                       ///< bytes per second; 0 = unlimited
    std::chrono::milliseconds downtime{300};      ///< aim for the vCPUs' longest stop
    bool operator==(const TransferLimits &) const = default;
};

enum class StreamKind {
    File,      ///< seekable image, at its current offset
    Channel,   ///< a connected stream socket: preface with secret, result comes back
    Listener,  ///< a listening socket: the peer connects with preface and secret
    Plain,     ///< a pipe or socket that carries nothing but the stream
};

/// Where pages lie in an aligned image, as its header says (docs/stream.md).
struct ImageIndex {
    uint32_t firstBatch = 0;
    uint32_t headSize = 0;
    uint32_t batchPages = 0;
};

/// TLS on the connections of a Channel or Listener.
struct TlsSettings {
    std::string directory;     ///< with certificates and keys
    bool verifyPeer = true;    ///< a destination wants a certificate of its source
    std::string peerName;      ///< a source: whose certificate its destination must have
};

struct SaveRequest {
    base::UniqueFd stream;
    StreamKind kind = StreamKind::File;
    std::optional<ImageIndex> index; ///< for File, where the guest canAlign(): an aligned image
    bool bypassCache = false;        ///< keep the image out of the page cache, as far as it can be
    std::string secret;              ///< for Channel: hex, as the destination's cookie gave it
    std::optional<TlsSettings> tls;  ///< for Channel
    std::vector<base::UniqueFd> furtherStreams;   ///< for Channel: connections to the same place
    bool live = false;               ///< rounds while the guest runs; else it is stopped first
    /// The limits that hold at this moment; asked when the transfer can be told of changes.
    /// Called during the call, without locks; empty: the defaults.
    std::function<TransferLimits()> limits;
    uint32_t maxRounds = 0;          ///< fail when the guest is still too busy after so many; 0: never
    std::chrono::seconds maxTime{};  ///< fail when the guest still runs after so long; 0: never
    TransferObserver *observer = nullptr;   ///< borrowed for the duration of the call
};

struct CreateRequest {
    virDomainDef *def = nullptr;     ///< borrowed; its id is set
    std::string runDir;              ///< private to this guest: exists, sockets go here
    std::string logPath;             ///< QEMU's stderr is appended here
    std::shared_ptr<GuestListener> listener;
};

struct ReceiveRequest {
    CreateRequest guest;
    base::UniqueFd stream;
    StreamKind kind = StreamKind::File;
    std::optional<ImageIndex> index; ///< for File: of an aligned image, which is a stream as any other
    bool bypassCache = false;
    unsigned streamVersion = 2;      ///< 1 = legacy
    std::string secret;              ///< for Listener: hex, what the peer must present
    std::optional<TlsSettings> tls;  ///< for Listener
    unsigned connections = 1;        ///< for Listener: how many the peer makes
    std::chrono::milliseconds connectTimeout{30000};   ///< for Listener
};

/// docs/migration.md, "Fast and slow resume".
enum class ResumeMode {
    Fast,   ///< suspend_cancel: the guest goes on as if nothing had been asked of it
    Slow,   ///< the guest's state was changed: its drivers reconnect
};

struct BlockStats {
    uint64_t readRequests = 0, readBytes = 0, readTime = 0;     ///< times in nanoseconds
    uint64_t writeRequests = 0, writeBytes = 0, writeTime = 0;
    uint64_t flushRequests = 0, flushTime = 0;
};

struct VcpuStatus {
    unsigned id = 0;
    pid_t thread = 0;                    ///< 0: it is no thread of this host
    bool halted = false;
};

/// Nanoseconds of host CPU.
struct CpuTimes {
    unsigned long long total = 0;
    unsigned long long user = 0, system = 0;   ///< 0 where only the total is known
};

struct VcpuFigures {
    unsigned id = 0;
    bool halted = false;
    int hostCpu = -1;                    ///< where it last ran
    unsigned long long cpuTime = 0;      ///< nanoseconds
    unsigned long long waitTime = 0;     ///< ready, but not running; nanoseconds
};

/// How a credit scheduler shares CPUs among guests.
struct SchedulerParameters {
    std::optional<unsigned> weight;
    std::optional<unsigned> cap;         ///< percent of one CPU; 0 = none
};

using NodeSet = std::unique_ptr<virBitmap, conf::FreeWith<virBitmapFree>>;
using CpuSet = std::unique_ptr<virBitmap, conf::FreeWith<virBitmapFree>>;

/// What the guest's own balloon driver reports; -1 where it does not.
struct BalloonStats {
    uint64_t actualKib = 0;
    int64_t swapInKib = -1, swapOutKib = -1, majorFaults = -1, minorFaults = -1;
    int64_t unusedKib = -1, availableKib = -1, usableKib = -1, diskCachesKib = -1;
    int64_t lastUpdate = -1;         ///< seconds since the epoch
};

/// One running guest. Destroying the object leaves the guest running (a daemon restarts);
/// destroy() ends it.
class Guest
{
public:
    virtual ~Guest() = default;

    /// The process that runs it on this host; 0 where a hypervisor does.
    virtual pid_t pid() const = 0;
    /// Whether its vCPUs run, as last heard from it. Never blocks.
    virtual bool running() const = 0;

    virtual base::Result<void> pause(StopCause cause) = 0;
    virtual base::Result<void> unpause() = 0;             ///< retries, too, what imageError() told of
    virtual base::Result<void> shutdown() = 0;            ///< asks the guest, by ACPI
    virtual base::Result<void> reboot() = 0;              ///< asks the guest; it comes back
    virtual base::Result<void> reset() = 0;               ///< pulls the reset line
    virtual base::Result<void> destroy(bool graceful) = 0; ///< returns when the process is gone

    /// Whether pages are still in the image that the guest came from. It runs, and save() waits
    /// for them; the image must be kept until memoryComplete().
    virtual bool memoryPending() { return false; }
    /// Whether save() can write aligned images.
    virtual bool canAlign() const { return false; }
    /// Move the guest into a stream. On success its vCPUs are stopped and stay so: the
    /// caller destroys it, or resumes it. On failure the guest goes on as it was before
    /// (running, or paused), already resumed fast, and the error is the true cause.
    virtual base::Result<TransferProgress> save(SaveRequest request) = 0;
    /// Undo a stop that save() made. The guest was left stopped by it.
    virtual base::Result<void> resume(ResumeMode mode) = 0;
    /// Wait until a guest from receive() is whole. It is then paused. On failure the guest
    /// is gone and the error is the true cause.
    virtual base::Result<TransferProgress> finishReceiving(TransferObserver *observer) = 0;
    /// Whether the source may have been told that a guest from receive() is whole.
    virtual bool mayBeWhole() { return true; }
    /// Stop the transfer under way. Its call returns soon: with ErrorCode::Aborted, or, when
    /// there is a `failure`, with that. Never blocks.
    virtual base::Result<void> abortTransfer(const std::string &failure = {}) = 0;
    virtual base::Result<void> setLimits(const TransferLimits &limits) = 0;

    /// Write what only the running guest knows into `def` (domain locked by the caller;
    /// does not block).
    virtual base::Result<void> describe(virDomainDef *def) = 0;
    /// Write what adopt() needs into a status file's private data. Does not block.
    virtual void formatStatus(virBuffer *out) = 0;

    virtual base::Result<std::vector<VcpuStatus>> vcpus() = 0;
    virtual base::Result<BlockStats> blockStats(const std::string &diskAlias) = 0;
    virtual base::Result<BalloonStats> balloonStats() = 0;
    virtual base::Result<void> setBalloon(uint64_t kib) = 0;
    virtual base::Result<void> setBalloonPeriod(unsigned seconds) = 0;
    virtual base::Result<void> sendKeys(const std::vector<unsigned> &qnums, unsigned holdMs) = 0;
    /// A PPM picture of a screen, as an open file positioned at its beginning.
    virtual base::Result<base::UniqueFd> screenshot(unsigned screen) = 0;
    virtual base::Result<void> injectNmi() = 0;

    // What a guest that is a process of this host answers; others say it themselves.
    virtual base::Result<CpuTimes> cpuTimes();
    virtual base::Result<std::vector<VcpuFigures>> vcpuFigures();
    virtual base::Result<uint64_t> residentKib();
    virtual base::Result<CpuSet> vcpuAffinity(unsigned id);
    virtual base::Result<void> setVcpuAffinity(unsigned id, virBitmap *cpus);
    /// The host's NUMA nodes that its memory comes from.
    virtual base::Result<NodeSet> nodeAffinity();

    // What not every hypervisor does: refused by name.
    virtual base::Result<void> setMaxMemory(uint64_t kib);
    virtual base::Result<void> setVcpus(unsigned count);
    /// Plug a device in, out, or change it; `def` is the running guest's, unlocked, and stays
    /// as it is: the caller changes it afterwards.
    virtual base::Result<void> attachDevice(const virDomainDef *def, virDomainDeviceDef *device);
    virtual base::Result<void> detachDevice(const virDomainDef *def, virDomainDeviceDef *device);
    virtual base::Result<void> updateDevice(const virDomainDef *def, virDomainDeviceDef *device);
    virtual base::Result<SchedulerParameters> schedulerParameters();
    virtual base::Result<void> setSchedulerParameters(const SchedulerParameters &parameters);
    /// Write the guest's memory to `path` for a debugger.
    virtual base::Result<void> dumpCore(const std::string &path);
};

/// A saved form of what formatStatus() wrote, on the way to adopt(). Opaque to the driver.
struct GuestStatus {
    virtual ~GuestStatus() = default;
};

/// How libvirt's parser is to treat definitions.
struct DefinitionTraits {
    const char *netPrefix = VIR_NET_GENERATED_VNET_PREFIX;   ///< of generated interface names
    unsigned char macPrefix[VIR_MAC_PREFIX_BUFLEN] = {0x52, 0x54, 0x00};
    unsigned features = VIR_DOMAIN_DEF_FEATURE_OFFLINE_VCPUPIN | VIR_DOMAIN_DEF_FEATURE_INDIVIDUAL_VCPUS |
                        VIR_DOMAIN_DEF_FEATURE_USER_ALIAS;
    virXMLNamespace xmlNamespace;
};

/// What `xl save` puts before a stream.
inline constexpr const char *savedXlFormat = "xl-json";   ///< libxl's record of the domain
inline constexpr const char *xlFormat = "xen-xl";         ///< xl's own words, of old images

/// One per Host.
class Hypervisor
{
public:
    virtual ~Hypervisor() = default;

    /// What virConnectGetType() answers.
    virtual const char *typeName() const { return "Godwit"; }
    virtual DefinitionTraits definitionTraits() const;

    /// A new reference (virObjectUnref it). Cached; probes at first call.
    virtual base::Result<virCaps *> capabilities() = 0;
    /// A new reference. Null arguments stand for the defaults.
    virtual base::Result<virDomainCaps *> domainCapabilities(const char *emulator, const char *arch,
                                                             const char *machine, const char *virtType) = 0;
    virtual base::Result<unsigned long> version() = 0;    ///< major*1000000 + minor*1000 + micro

    // The host as its guests see it: as a process sees it, or as the hypervisor tells.
    virtual base::Result<virNodeInfo> nodeInfo();
    virtual base::Result<uint64_t> freeMemory();          ///< bytes
    virtual base::Result<std::vector<uint64_t>> cellsFreeMemory(int first, int count);
    virtual base::Result<std::string> schedulerType();

    /// A definition from and to another program's configuration format; `format` names it:
    /// as libvirt's conversion functions do, or as a saved image of another program has it.
    virtual base::Result<conf::DomainDef> fromNative(const char *format, const char *text, virDomainXMLOption *option);
    /// `connection`: whose networks the definition's interfaces name.
    virtual base::Result<conf::Text> toNative(const char *format, virDomainDef *def, virConnectPtr connection);
    /// This host itself, where it is one of the hypervisor's domains: its definition; else null.
    virtual base::Result<conf::DomainDef> hostDomain(virDomainXMLOption *option);
    /// Refuse a guest for which this host has not enough memory left.
    virtual base::Result<void> checkMemory(const virDomainDef *def);
    /// Refuse a guest whose memory this host cannot send while it runs, where that is known beforehand.
    virtual base::Result<void> checkLive(const virDomainDef *def);

    /// Defaults that every definition gets when it is parsed (machine type, addresses…).
    virtual base::Result<void> complete(virDomainDef *def) = 0;
    /// The same for one device; `def` is its domain's.
    virtual base::Result<void> completeDevice(virDomainDeviceDef *device, const virDomainDef *def) = 0;
    /// Give every device that needs one its address, after defaults and implicit devices.
    virtual base::Result<void> assignAddresses(virDomainDef *def) = 0;
    /// Refuse, by name, what this hypervisor does not do.
    virtual base::Result<void> checkSupport(const virDomainDef *def) = 0;
    /// Give every device its alias (a starting domain's live definition, locked).
    virtual base::Result<void> assignAliases(virDomainDef *def) = 0;

    /// Whether a guest that arrives sees what its disks hold, and not what this host's page cache
    /// still remembers of them.
    virtual bool dropsDiskCaches() const { return false; }

    /// Start a guest, paused.
    virtual base::Result<std::shared_ptr<Guest>> create(CreateRequest request) = 0;
    /// Start an empty guest that a stream fills; returns once it can be filled.
    virtual base::Result<std::shared_ptr<Guest>> receive(ReceiveRequest request) = 0;

    virtual base::Result<std::unique_ptr<GuestStatus>> parseStatus(xmlXPathContextPtr context) = 0;
    /// Take up a guest that was running before this process began. NoDomain if it has died,
    /// with the cause in the message. Tells the listener the guest's true state.
    virtual base::Result<std::shared_ptr<Guest>> adopt(CreateRequest request, const GuestStatus &status) = 0;
};

} // namespace godwit::hypervisor
