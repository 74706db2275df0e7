// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "conf/handle.h"
#include "conf/settings.h"
#include "domain/background.h"
#include "domain/domain.h"
#include "domain/services.h"
#include "domain/worker.h"
#include "hypervisor/hypervisor.h"

#include <atomic>
#include <functional>
#include <memory>
#include <vector>

namespace godwit::domain {

/// Tells a daemon that it may not shut down by itself while guests run (true), or may again.
using Inhibitor = std::function<void(bool)>;

/// Told when a guest has ended whose destination may still wait for a question (migration/recovery.h).
using SourceEnded = std::function<void(Host &, const MigrationLink &)>;

/// Room for one save, restore or migration of a Host, until destroyed (see Host::takeTransferSlot).
class TransferSlot
{
public:
    TransferSlot() = default;
    explicit TransferSlot(std::atomic<unsigned> *taken) : taken_(taken) {}
    TransferSlot(TransferSlot &&other) noexcept : taken_(std::exchange(other.taken_, nullptr)) {}
    TransferSlot &operator=(TransferSlot &&other) noexcept
    {
        std::swap(taken_, other.taken_);
        return *this;
    }
    ~TransferSlot()
    {
        if (taken_)
            --*taken_;
    }

private:
    std::atomic<unsigned> *taken_ = nullptr;
};

/// One root: its settings, directories, domains, threads. A process may have several.
/// All functions are thread-safe.
class Host
{
public:
    /// Make the directories, lock the root, load definitions, take up running guests.
    static base::Result<std::shared_ptr<Host>> open(conf::Settings settings, Inhibitor inhibitor,
                                                    SourceEnded sourceEnded = {});
    /// Leaves guests running.
    ~Host();
    Host(const Host &) = delete;
    Host &operator=(const Host &) = delete;

    const conf::Settings &settings() const { return settings_; }
    hypervisor::Hypervisor &hypervisor() { return *hypervisor_; }
    Services &services() { return services_; }
    virDomainObjList *domains() { return domains_.get(); }
    virDomainXMLOption *xmlOption() { return xmlOption_.get(); }
    virObjectEventState *events() { return events_.get(); }
    virPortAllocatorRange *migrationPorts() { return migrationPorts_.get(); }

    /// Hand over an event (may be null) to whoever registered for it.
    void queueEvent(virObjectEvent *event);
    /// Do something later, on the Host's worker thread.
    void post(std::function<void()> task) { worker_->post(std::move(task)); }
    /// Do something that takes long. What it needs of the Host is there until it ends.
    Background &background() { return background_; }

    /// Parse and check a definition. `flags`: VIR_DOMAIN_DEF_PARSE_*.
    base::Result<conf::DomainDef> parse(const char *xml, unsigned flags);
    base::Result<conf::Text> format(virDomainDef *def, unsigned flags);
    /// A number for a domain that starts: grows, never used twice by one Host.
    /// (On Xen it stands in for the hypervisor's own number until that is known.)
    int newDomainId() { return ++lastId_; }
    std::string guestDir(const virDomainDef *def) const;
    std::string logPath(const virDomainDef *def) const;
    std::string savePath(const virDomainDef *def) const;

    /// Room for a transfer of the domain `name`: an error when there are too many already.
    base::Result<TransferSlot> takeTransferSlot(const std::string &name);

    /// Counts active domains, for the daemon's inhibitor.
    void domainStarted();
    void domainEnded();
    void sourceEnded(const MigrationLink &link)
    {
        if (sourceEnded_)
            sourceEnded_(*this, link);
    }

    /// Definitions changed on disk (SIGHUP to the daemon).
    base::Result<void> reload();
    /// Every domain, each with a reference of its own, none locked.
    std::vector<conf::ObjectRef<virDomainObj>> allDomains();
    /// True once per root and boot of the machine: start now what starts by itself.
    bool takeAutostart();

private:
    Host(conf::Settings settings, Inhibitor inhibitor, SourceEnded sourceEnded);
    base::Result<void> makeDirectories();
    base::Result<void> lockRoot();
    void connectMachine();
    base::Result<void> connectXen();
    base::Result<void> loadDomains();
    void addHostDomain();
    void adoptGuests();
    void tellInhibitor();

    conf::Settings settings_;
    Inhibitor inhibitor_;
    SourceEnded sourceEnded_;
    int lockFd_ = -1;
    std::atomic<int> lastId_{0};
    std::atomic<int> activeDomains_{0};
    std::atomic<unsigned> transfers_{0};
    bool inhibiting_ = false;   ///< as the daemon was told; the worker's
    std::unique_ptr<virPortAllocatorRange, conf::FreeWith<virPortAllocatorRangeFree>> migrationPorts_;
    conf::ObjectRef<virObjectEventState> events_;
    std::unique_ptr<virEventThread, conf::FreeWith<g_object_unref>> eventThread_;
    std::unique_ptr<hypervisor::Hypervisor> hypervisor_;
    Services services_;
    conf::ObjectRef<virDomainXMLOption> xmlOption_;
    conf::ObjectRef<virDomainObjList> domains_;
    std::unique_ptr<Worker> worker_;
    Background background_;
};

} // namespace godwit::domain
