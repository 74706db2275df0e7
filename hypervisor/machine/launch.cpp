// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/machine/launch.h"

#include "base/i18n.h"
#include "base/log.h"
#include "base/strprintf.h"
#include "conf/handle.h"
#include "conf/libvirt_error.h"
#include "hypervisor/machine/nics.h"

#include <csignal>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace godwit::hypervisor::machine {

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::strprintf;
using base::systemError;
using base::tr;
using base::UniqueFd;

/// For QEMU's first answer. A machine under load takes its time to start it; one that dies is noticed
/// at once.
static constexpr std::chrono::seconds startPatience{60};
static constexpr std::chrono::seconds adoptPatience{30};

static std::string monitorPath(const std::string &runDir) { return runDir + "/monitor.sock"; }
static std::string pidFilePath(const std::string &runDir) { return runDir + "/qemu.pid"; }

// ---- files ---------------------------------------------------------------------------------

static Result<void> checkFile(const char *what, const char *path)
{
    if (path && ::access(path, R_OK) < 0)
        return systemError(errno, tr("cannot read %s '%s'"), what, path);
    return {};
}

/// QEMU would say so too, in its own words and later.
static Result<void> checkFiles(const virDomainDef *def)
{
    TRY(checkFile(tr("kernel"), def->os.kernel));
    TRY(checkFile(tr("initrd"), def->os.initrd));
    for (size_t i = 0; i < def->ndisks; i++)
        TRY(checkFile(tr("disk image"), def->disks[i]->src->path));
    return {};
}

/// The guest's memory: a file without a name, ours and QEMU's.
static Result<UniqueFd> makeRam(const GuestFacts &facts)
{
    const std::string name = strprintf("godwit-ram-%s", facts.name.substr(0, 200).c_str());
    UniqueFd ram(memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!ram || ::ftruncate(ram.get(), static_cast<off_t>(facts.ramBytes)) < 0)
        return systemError(errno, tr("cannot make %llu bytes of guest memory"),
                           static_cast<unsigned long long>(facts.ramBytes));
    // Nobody may pull it away from under the other: a shrunken file is SIGBUS.
    if (fcntl(ram.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
        return systemError(errno, tr("cannot seal guest memory"));
    return ram;
}

static Result<std::string> ramId(int fd)
{
    struct stat status{};
    if (::fstat(fd, &status) < 0)
        return systemError(errno, "fstat");
    return strprintf("%llu:%llu", static_cast<unsigned long long>(status.st_dev),
                     static_cast<unsigned long long>(status.st_ino));
}

// ---- sockets and ports -----------------------------------------------------------------------

static Result<sockaddr_un> socketAddress(const std::string &path)
{
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path)
        return makeError(ErrorCode::InvalidArgument, tr("socket path '%s' is too long"), path.c_str());
    path.copy(address.sun_path, path.size());
    return address;
}

/// QEMU inherits the listening socket, so that connecting to it never comes too early.
static Result<UniqueFd> listenAt(const std::string &path)
{
    const sockaddr_un address = TRY(socketAddress(path));
    UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ::unlink(path.c_str());
    if (!socket || ::bind(socket.get(), reinterpret_cast<const sockaddr *>(&address), sizeof address) < 0 ||
        ::listen(socket.get(), 1) < 0)
        return systemError(errno, tr("cannot listen at '%s'"), path.c_str());
    return socket;
}

static Result<UniqueFd> connectTo(const std::string &path)
{
    const sockaddr_un address = TRY(socketAddress(path));
    UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!socket || ::connect(socket.get(), reinterpret_cast<const sockaddr *>(&address), sizeof address) < 0)
        return systemError(errno, tr("cannot connect to '%s'"), path.c_str());
    return socket;
}

static bool needsVncPort(const virDomainGraphicsDef *graphics)
{
    return graphics->nListens == 0 || graphics->listens[0].type == VIR_DOMAIN_GRAPHICS_LISTEN_TYPE_ADDRESS ||
           graphics->listens[0].type == VIR_DOMAIN_GRAPHICS_LISTEN_TYPE_NETWORK;
}

static Result<PortLease> leaseVncPort(const virDomainDef *def, virPortAllocatorRange *range)
{
    if (def->ngraphics == 0 || !needsVncPort(def->graphics[0]))
        return PortLease();
    const auto &vnc = def->graphics[0]->data.vnc;
    if (!vnc.autoport && vnc.port > 0) {
        TRY(conf::check(virPortAllocatorSetUsed(static_cast<unsigned short>(vnc.port))));
        return PortLease(static_cast<unsigned short>(vnc.port));
    }
    unsigned short port = 0;
    TRY(conf::check(virPortAllocatorAcquire(range, &port)));
    return PortLease(port);
}

// ---- start -----------------------------------------------------------------------------------

namespace {

/// A guest's resources while QEMU is started; their numbers are QEMU's too.
struct Preparation {
    GuestFacts facts;
    UniqueFd ram, monitor;
    UniqueFd agent, agentEnd;   ///< ours and QEMU's, for memory on demand
    std::vector<Tap> taps;
    PortLease vncPort;
    CommandLine line;
};

} // namespace

/// A guest without the agent runs as well, and migrates with slower tracking.
static void preloadAgent(const MachineSettings &settings, const std::string &guest, CommandLineInputs &inputs)
{
    for (const auto &[path, mode] : {std::pair(settings.agent, R_OK), std::pair(settings.launcher, X_OK)}) {
        if (::access(path.c_str(), mode) < 0) {
            log(base::LogLevel::Warning, tr("domain '%s' runs without the agent: cannot use '%s': %s"), guest.c_str(),
                path.c_str(), g_strerror(errno));
            return;
        }
    }
    inputs.agent = settings.agent;
    inputs.launcher = settings.launcher;
}

static Result<Preparation> prepare(const LaunchContext &context, const CreateRequest &request, Fill fill)
{
    const virDomainDef *def = request.def;
    Preparation made;
    made.facts = GuestFacts::of(request);
    made.facts.helper = context.settings.helper;
    TRY(checkFiles(def));
    made.ram = TRY(makeRam(made.facts));
    made.monitor = TRY(listenAt(monitorPath(request.runDir)));
    made.taps = TRY(openTaps(def, context.settings.privileged));
    made.vncPort = TRY(leaseVncPort(def, context.vncPorts));
    made.facts.ramFdInGuest = made.ram.get();
    made.facts.vncPort = made.vncPort.port();

    CommandLineInputs inputs;
    inputs.emulator = def->emulator ? def->emulator : context.settings.qemuBinary;
    inputs.runDir = request.runDir;
    preloadAgent(context.settings, made.facts.name, inputs);
    inputs.ramId = TRY(ramId(made.ram.get()));
    inputs.ramFd = made.ram.get();
    inputs.monitorFd = made.monitor.get();
    for (const Tap &tap : made.taps) {
        inputs.tapFds.push_back(tap.fd.get());
        made.facts.tapNames.push_back(tap.name);
    }
    inputs.vncPorts.push_back(made.vncPort.port());
    inputs.incoming = fill != Fill::Boot;
    if (fill == Fill::OnDemand && !inputs.agent.empty()) {
        int ends[2];
        if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
            return systemError(errno, "socketpair");
        made.agent.reset(ends[0]);
        made.agentEnd.reset(ends[1]);
        inputs.demandFd = ends[1];
    }
    inputs.now = ::time(nullptr);
    made.line = TRY(buildCommandLine(def, inputs));
    return made;
}

/// What QEMU said when it went, rather than that it went.
static base::Error startError(const std::string &name, const Process &process, const LogTail &log, const base::Error &why)
{
    if (!process.waitGone(std::chrono::seconds(1)))
        return why.in(strprintf(tr("cannot start '%s'"), name.c_str()));
    const std::string said = log.text();
    return makeError(ErrorCode::OperationFailed, tr("cannot start '%s': the emulator has ended: %s"), name.c_str(),
                     said.empty() ? why.message.c_str() : said.c_str());
}

Result<std::shared_ptr<MachineGuest>> launch(const LaunchContext &context, const CreateRequest &request, Fill fill)
{
    Preparation made = TRY(prepare(context, request, fill));
    const std::string name = made.facts.name;
    const LogTail log(request.logPath);
    Process process = TRY(startDaemon(made.line, pidFilePath(request.runDir), request.logPath));
    // From here on there is a process: it goes with `guest`, whatever fails.
    made.monitor.reset();
    made.agentEnd.reset();
    made.taps.clear();
    auto guest = std::make_shared<MachineGuest>(context.loop, std::move(made.facts), std::move(process),
                                                std::move(made.ram), log, request.listener, std::move(made.vncPort));
    const auto bringUp = [&]() -> Result<void> {
        UniqueFd monitor = TRY(connectTo(monitorPath(request.runDir)));
        TRY(guest->connect(std::move(monitor), startPatience));
        if (made.agent)
            guest->takeFaults(made.agent.get());
        return guest->configure(request.def, fill != Fill::Boot);
    };
    if (auto up = bringUp(); !up) {
        auto error = startError(name, guest->process(), log, up.error());
        guest->discard();
        return error;
    }
    return guest;
}

// ---- adopt -----------------------------------------------------------------------------------

Result<std::unique_ptr<GuestStatus>> Status::parse(xmlXPathContextPtr context)
{
    auto status = std::make_unique<Status>();
    int pid = 0;
    if (virXPathInt("string(./machine/@pid)", context, &pid) < 0)
        return std::unique_ptr<GuestStatus>(std::move(status));
    status->pid = pid;
    if (pid <= 1 || virXPathULongLong("string(./machine/@startTime)", context, &status->startTime) < 0 ||
        virXPathInt("string(./machine/@ramFd)", context, &status->ramFd) < 0)
        return makeError(ErrorCode::BadFormat, "%s", tr("a status file does not tell the emulator's process"));
    status->fakeReboot = virXPathBoolean("./machine/@fakeReboot = 'yes'", context) > 0;
    status->receiving = virXPathBoolean("./machine/@receiving = 'yes'", context) > 0;
    status->pages = TRY(PendingStatus::parse(context));
    return std::unique_ptr<GuestStatus>(std::move(status));
}

static Result<UniqueFd> openRam(const Process &process, const GuestFacts &facts)
{
    const std::string path = strprintf("/proc/%d/fd/%d", static_cast<int>(process.pid()), facts.ramFdInGuest);
    UniqueFd ram(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    struct stat status{};
    if (!ram || ::fstat(ram.get(), &status) < 0)
        return systemError(errno, tr("cannot open the guest's memory"));
    if (static_cast<uint64_t>(status.st_size) != facts.ramBytes)
        return makeError(ErrorCode::BadFormat, "%s", tr("the guest's memory is not what its definition says"));
    return ram;
}

/// The emulator of a guest that never came to be, or never will: it holds the lock on its
/// pid file as long as it lives.
static base::Error abandoned(const CreateRequest &request, const char *why)
{
    virPidFileForceCleanupPath(pidFilePath(request.runDir).c_str());
    virResetLastError();
    return makeError(ErrorCode::NoDomain, "%s", why);
}

static Result<std::shared_ptr<MachineGuest>> connectAgain(const LaunchContext &context, const CreateRequest &request,
                                                          const Status &status, Process process)
{
    GuestFacts facts = GuestFacts::of(request);
    facts.helper = context.settings.helper;
    facts.ramFdInGuest = status.ramFd;
    for (size_t i = 0; i < request.def->nnets; i++)
        facts.tapNames.emplace_back(request.def->nets[i]->ifname ? request.def->nets[i]->ifname : "");
    UniqueFd ram = TRY(openRam(process, facts));
    PortLease port;
    if (request.def->ngraphics && needsVncPort(request.def->graphics[0]) && request.def->graphics[0]->data.vnc.port > 0) {
        facts.vncPort = request.def->graphics[0]->data.vnc.port;
        if (virPortAllocatorSetUsed(static_cast<unsigned short>(facts.vncPort)) == 0)
            port = PortLease(static_cast<unsigned short>(facts.vncPort));
        else
            virResetLastError();
    }
    auto guest = std::make_shared<MachineGuest>(context.loop, std::move(facts), std::move(process), std::move(ram),
                                                LogTail(request.logPath), request.listener, std::move(port));
    if (status.pages)
        TRY(guest->takeUpPages(*status.pages));
    UniqueFd monitor = TRY(connectTo(monitorPath(request.runDir)));
    TRY(guest->connect(std::move(monitor), adoptPatience));
    TRY(guest->takeUp(status.fakeReboot));
    return guest;
}

/// A guest that nobody can steer is ended: its domain counts as shut off, and must not be started
/// beside it. Such is one whose emulator waits for a page that nobody can bring any more.
static base::Error endUnreachable(const Status &status, const base::Error &why)
{
    const auto process = Process::find(status.pid, status.startTime);
    // A process that is on its way out fails in many ways.
    if (!process || process->waitGone(std::chrono::seconds(1)))
        return makeError(ErrorCode::NoDomain, tr("its emulator, process %d, is no more"), static_cast<int>(status.pid));
    (void)process->signal(SIGKILL).has_value();
    if (!process->waitGone(std::chrono::seconds(10)))
        return makeError(ErrorCode::TimedOut, tr("its emulator, process %d, cannot be reached, and does not end: %s"),
                         static_cast<int>(status.pid), why.message.c_str());
    return makeError(ErrorCode::NoDomain, tr("its emulator, process %d, could not be reached and was ended: %s"),
                     static_cast<int>(status.pid), why.message.c_str());
}

Result<std::shared_ptr<MachineGuest>> takeUp(const LaunchContext &context, const CreateRequest &request,
                                             const Status &status)
{
    if (status.pid == 0)
        return abandoned(request, tr("it was not started completely"));
    if (status.receiving)
        return abandoned(request, tr("it was being received, and nobody was there to finish it"));
    auto guest = connectAgain(context, request, status, TRY(Process::find(status.pid, status.startTime)));
    return guest ? std::move(guest) : endUnreachable(status, guest.error());
}

} // namespace godwit::hypervisor::machine
