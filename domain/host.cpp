// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/host.h"

#include "base/i18n.h"
#include "base/log.h"
#include "base/strprintf.h"
#include "base/unique_fd.h"
#include "domain/lifecycle.h"
#include "domain/xml_option.h"
#include "hypervisor/machine/machine.h"
#include "hypervisor/xen/xen.h"

#include <filesystem>
#include <fcntl.h>
#include <fstream>
#include <future>
#include <sys/file.h>
#include <thread>

namespace godwit::domain {

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::strprintf;
using base::systemError;
using base::tr;

Host::Host(conf::Settings settings, Inhibitor inhibitor, SourceEnded sourceEnded)
    : settings_(std::move(settings)), inhibitor_(std::move(inhibitor)), sourceEnded_(std::move(sourceEnded))
{
}

Host::~Host()
{
    background_.stop();
    // What guests have told so far is written down: whoever takes them up goes by that.
    if (worker_) {
        std::promise<void> written;
        post([&] { written.set_value(); });
        written.get_future().wait();
    }
    // Guests' connections live on the event thread and tell the worker: let go of the
    // guests first, then of what they talk to.
    if (domains_) {
        virDomainObjListForEach(
            domains_.get(), false,
            [](virDomainObj *object, void *) {
                Domain domain = Domain::lock(object);
                domain.data().guest.reset();
                domain.data().events.reset();
                return 0;
            },
            nullptr);
    }
    // The event thread may be telling the worker something right now: that ends with the
    // hypervisor. What the worker still has to do then finds no guest that it is about.
    hypervisor_.reset();
    eventThread_.reset();
    worker_.reset();
    domains_ = {};
    if (lockFd_ >= 0)
        ::close(lockFd_);
}

Result<std::shared_ptr<Host>> Host::open(conf::Settings settings, Inhibitor inhibitor, SourceEnded sourceEnded)
{
    std::shared_ptr<Host> host(new Host(std::move(settings), std::move(inhibitor), std::move(sourceEnded)));
    TRY(host->makeDirectories());
    TRY(host->lockRoot());

    const conf::Settings &chosen = host->settings_;
    host->migrationPorts_.reset(virPortAllocatorRangeNew("migration", static_cast<unsigned short>(chosen.migrationPortMin),
                                                         static_cast<unsigned short>(chosen.migrationPortMax)));
    if (!host->migrationPorts_)
        return conf::takeLibvirtError();
    host->events_ = conf::ObjectRef<virObjectEventState>::adopt(virObjectEventStateNew());
    host->domains_ = conf::ObjectRef<virDomainObjList>::adopt(virDomainObjListNew());
    host->eventThread_.reset(virEventThreadNew("godwit-event"));
    if (!host->events_ || !host->domains_ || !host->eventThread_)
        return conf::takeLibvirtError();
    host->worker_ = std::make_unique<Worker>();

    if (chosen.kind == conf::Settings::Kind::Xen)
        TRY(host->connectXen());
    else
        host->connectMachine();
    host->xmlOption_ = makeXmlOption(*host);

    TRY(host->loadDomains());
    host->addHostDomain();
    host->adoptGuests();
    return host;
}

void Host::connectMachine()
{
    const conf::Settings &chosen = settings_;
    hypervisor::MachineSettings machine;
    machine.qemuBinary = chosen.qemuBinary;
    machine.helper = chosen.helper;
    machine.agent = chosen.agent;
    machine.launcher = chosen.launcher;
    machine.restoreOnDemand = chosen.restoreOnDemand;
    machine.privileged = chosen.privileged;
    machine.eventContext = virEventThreadGetContext(eventThread_.get());
    hypervisor_ = hypervisor::makeMachine(std::move(machine));
}

/// Xen's own numbers of domains end below this.
static constexpr int xenReservedIds = 0x7ff0;

Result<void> Host::connectXen()
{
    hypervisor::XenSettings xen;
    xen.helper = settings_.helper;
    xen.converter = settings_.converter;
    xen.dumpDir = settings_.saveDir + "/../dump";
    xen.channelDir = settings_.saveDir + "/../channel/target";
    xen.autoballoon = settings_.autoballoon;
    xen.nestedHvm = settings_.nestedHvm;
    hypervisor_ = TRY(hypervisor::makeXen(std::move(xen)));
    services_ = TRY(Services::forXen(settings_));
    lastId_ = xenReservedIds;
    return {};
}

Result<void> Host::makeDirectories()
{
    for (const std::string *dir : {&settings_.configDir, &settings_.autostartDir, &settings_.stateDir,
                                   &settings_.runDir, &settings_.logDir, &settings_.saveDir}) {
        if (g_mkdir_with_parents(dir->c_str(), 0700) < 0)
            return systemError(errno, tr("cannot create directory '%s'"), dir->c_str());
    }
    return {};
}

Result<void> Host::lockRoot()
{
    const std::string path = settings_.stateDir + "/lock";
    const std::string &root = settings_.root.empty() ? settings_.stateDir : settings_.root;
    base::UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!fd)
        return systemError(errno, tr("cannot open '%s'"), path.c_str());
    if (flock(fd.get(), LOCK_EX | LOCK_NB) < 0) {
        char holder[128] = {};
        if (errno != EWOULDBLOCK || pread(fd.get(), holder, sizeof holder - 1, 0) < 0)
            return systemError(errno, tr("cannot lock '%s'"), path.c_str());
        return makeError(ErrorCode::OperationFailed, tr("'%s' is in use by process %s"), root.c_str(), holder);
    }
    std::string name;
    std::getline(std::ifstream("/proc/self/comm"), name);
    const std::string text = strprintf("%d (%s)", static_cast<int>(getpid()), name.c_str());
    if (ftruncate(fd.get(), 0) < 0 || pwrite(fd.get(), text.data(), text.size(), 0) < 0)
        return systemError(errno, tr("cannot write '%s'"), path.c_str());
    lockFd_ = fd.release();
    return {};
}

/// What a process that was killed did not finish writing. No one else writes here: the root is ours.
static void removePartialImages(const std::string &folder)
{
    static constexpr std::string_view mark = ".save.partial.";   // migration/image_file.cpp
    std::error_code failed;
    for (const auto &entry : std::filesystem::directory_iterator(folder, failed)) {
        const std::string name = entry.path().filename();
        const size_t at = name.rfind(mark);
        if (at != std::string::npos && name.find('.', at + mark.size()) == std::string::npos)
            std::filesystem::remove(entry.path(), failed);
    }
}

Result<void> Host::loadDomains()
{
    removePartialImages(settings_.saveDir);
    // Status files first: they hold the running guests and their numbers.
    TRY(conf::check(virDomainObjListLoadAllConfigs(domains_.get(), settings_.stateDir.c_str(), nullptr, true,
                                                   xmlOption_.get(), nullptr, nullptr)));
    TRY(reload());
    virDomainObjListForEach(
        domains_.get(), false,
        [](virDomainObj *object, void *opaque) {
            auto *host = static_cast<Host *>(opaque);
            Domain domain = Domain::lock(object);
            host->lastId_ = std::max(host->lastId_.load(), domain.def()->id);
            domain.object()->hasManagedSave = access(host->savePath(domain.def()).c_str(), F_OK) == 0;
            if (domain.object()->hasManagedSave && !domain.active())
                virDomainObjSetState(object, VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_SAVED);
            return 0;
        },
        this);
    return {};
}

Result<void> Host::reload()
{
    return conf::check(virDomainObjListLoadAllConfigs(domains_.get(), settings_.configDir.c_str(),
                                                      settings_.autostartDir.c_str(), false,
                                                      xmlOption_.get(), nullptr, nullptr));
}

std::vector<conf::ObjectRef<virDomainObj>> Host::allDomains()
{
    virDomainObj **objects = nullptr;
    size_t count = 0;
    virDomainObjListCollectAll(domains_.get(), &objects, &count);
    std::vector<conf::ObjectRef<virDomainObj>> all;
    for (size_t i = 0; i < count; i++)
        all.push_back(conf::ObjectRef<virDomainObj>::adopt(objects[i]));
    g_free(objects);
    return all;
}

/// A domain that no guest runs in: the machine with this process. It counts for nothing that is counted.
static bool isHost(const virDomainObj *object)
{
    return object->def->id == 0;
}

void Host::addHostDomain()
{
    auto def = hypervisor_->hostDomain(xmlOption_.get());
    if (!def)
        return log(base::LogLevel::Warning, "%s", def.error().message.c_str());
    if (!*def)
        return;
    // A status file has told of it, but not that it stays.
    if (auto known = Domain::byId(*this, (*def)->id)) {
        known->object()->persistent = 1;
        return;
    }
    auto domain = addDomain(*this, std::move(*def), 0);
    if (!domain)
        return log(base::LogLevel::Warning, "%s", domain.error().message.c_str());
    domain->object()->persistent = 1;
    virDomainObjSetState(domain->object(), VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_BOOTED);
    if (auto status = hypervisor_->parseStatus(nullptr))
        domain->data().status = std::move(*status);
}

void Host::adoptGuests()
{
    std::vector<std::thread> threads;
    for (auto &object : allDomains()) {
        if (!virDomainObjIsActive(object.get()))
            continue;
        if (!isHost(object.get()))
            domainStarted();
        threads.emplace_back([object] {
            Domain domain = Domain::lock(object.get());
            adoptDomain(domain);
        });
    }
    for (std::thread &thread : threads)
        thread.join();
}

bool Host::takeAutostart()
{
    // Once for each time that the machine boots: a daemon's state directory is emptied then, that of embed
    // mode is not.
    const std::string mark = settings_.stateDir + "/autostarted";
    std::string boot, marked;
    std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), boot);
    std::ifstream file(mark);
    std::getline(file, marked);
    if (file.is_open() && marked == boot)
        return false;
    return static_cast<bool>(std::ofstream(mark, std::ios::trunc) << boot << std::endl);
}

void Host::queueEvent(virObjectEvent *event)
{
    if (event)
        virObjectEventStateQueue(events_.get(), event);
}

Result<conf::DomainDef> Host::parse(const char *xml, unsigned flags)
{
    conf::DomainDef def(virDomainDefParseString(xml, xmlOption_.get(), nullptr, flags));
    if (!def)
        return conf::takeLibvirtError();
    return def;
}

Result<conf::Text> Host::format(virDomainDef *def, unsigned flags)
{
    conf::Text text(virDomainDefFormat(def, xmlOption_.get(), flags));
    if (!text)
        return conf::takeLibvirtError();
    return text;
}

std::string Host::guestDir(const virDomainDef *def) const
{
    // On Xen a guest's number changes with each reboot.
    if (settings_.kind == conf::Settings::Kind::Xen)
        return settings_.runDir + "/" + def->name;
    conf::Text name(virDomainDefGetShortName(def));
    return settings_.runDir + "/" + (name ? name.get() : std::to_string(def->id).c_str());
}

std::string Host::logPath(const virDomainDef *def) const
{
    return settings_.logDir + "/" + def->name + ".log";
}

std::string Host::savePath(const virDomainDef *def) const
{
    return settings_.saveDir + "/" + def->name + ".save";
}

// On the worker: a domain may end in a close callback, which libvirt calls with the daemon locked,
// and telling the daemon takes that lock.

Result<TransferSlot> Host::takeTransferSlot(const std::string &name)
{
    unsigned taken = transfers_;
    do {
        if (taken >= settings_.maxTransfers)
            return makeError(ErrorCode::OperationFailed,
                             tr("domain '%s' cannot be moved now: %u transfers are under way on this host, as many as "
                                "max_transfers in godwit.conf allows"),
                             name.c_str(), taken);
    } while (!transfers_.compare_exchange_weak(taken, taken + 1));
    return TransferSlot(&transfers_);
}

void Host::tellInhibitor()
{
    post([this] {
        const bool wanted = activeDomains_ > 0;
        if (inhibitor_ && wanted != inhibiting_)
            inhibitor_(inhibiting_ = wanted);
    });
}

void Host::domainStarted()
{
    if (++activeDomains_ == 1)
        tellInhibitor();
}

void Host::domainEnded()
{
    if (--activeDomains_ == 0)
        tellInhibitor();
}

} // namespace godwit::domain
