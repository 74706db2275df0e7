// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/module.h"

#include "base/i18n.h"
#include "base/log.h"
#include "driver/connection.h"
#include "driver/entry.h"
#include "hypervisor/xen/xen_host.h"
#include "migration/image.h"
#include "migration/recovery.h"

#include <map>
#include <mutex>

namespace godwit::driver {

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::tr;
using domain::Domain;
using domain::Host;

/// The Hosts of this process. A process-wide table is what libvirt's C interface leaves
/// us: connectOpen has nothing but a URI to find its Host by.
struct Hosts {
    std::mutex mutex;
    std::shared_ptr<Host> daemon;
    std::shared_ptr<Host> xen;              ///< in a daemon on a Xen host
    base::Error noXen;                      ///< else: why not
    bool privileged = false;
    std::map<std::string, std::weak_ptr<Host>> embedded;   ///< by root
};

static Hosts &hosts()
{
    // Never destroyed: libvirt may call in while the process exits.
    static auto *all = new Hosts;
    return *all;
}

static const char *uriParameter(const virURI *uri, const char *name)
{
    for (size_t i = 0; i < uri->paramsCount; i++) {
        if (STREQ(uri->params[i].name, name))
            return uri->params[i].value;
    }
    return nullptr;
}

static Result<std::shared_ptr<Host>> embeddedHost(const virURI *uri)
{
    const char *root = uriParameter(uri, "root");
    if (!root || !g_path_is_absolute(root))
        return makeError(ErrorCode::InvalidArgument, "%s",
                         tr("embed mode needs the URI parameter root, an absolute directory"));
    conf::Text path(virFileSanitizePath(root));
    std::lock_guard lock(hosts().mutex);
    std::weak_ptr<Host> &known = hosts().embedded[path.get()];
    if (std::shared_ptr<Host> host = known.lock())
        return host;
    auto settings = TRY(conf::Settings::forEmbed(path.get()));
    std::shared_ptr<Host> host = TRY(Host::open(std::move(settings), nullptr, migration::dismissLater));
    known = host;
    migration::settleInterrupted(*host);
    autostartDomains(*host);
    return host;
}

/// Hosts locked. An empty path is what libvirt took for the local Xen before URIs had one.
static Result<std::shared_ptr<Host>> xenHost(const virURI *uri)
{
    if (!hosts().xen)
        return hosts().noXen;
    if (STRNEQ_NULLABLE(uri->path, "/system") && STRNEQ_NULLABLE(uri->path, "/") && uri->path && *uri->path)
        return makeError(ErrorCode::InvalidArgument, tr("'%s' is no path of Xen: try xen:///system"), uri->path);
    return hosts().xen;
}

Result<std::shared_ptr<Host>> hostFor(virConnectPtr connection)
{
    const virURI *uri = connection->uri;
    if (STREQ_NULLABLE(uri->path, "/embed"))
        return embeddedHost(uri);
    std::lock_guard lock(hosts().mutex);
    if (STREQ_NULLABLE(uri->scheme, "xen"))
        return xenHost(uri);
    if (!hosts().daemon)
        return makeError(ErrorCode::Internal, "%s", tr("godwit state driver is not active"));
    if (!virConnectValidateURIPath(uri->path, "godwit", hosts().privileged))
        return conf::takeLibvirtError();
    return hosts().daemon;
}

void releaseHost(std::shared_ptr<Host> host)
{
    std::lock_guard lock(hosts().mutex);
    host.reset();
}

void autostartDomains(Host &host)
{
    if (!host.takeAutostart())
        return;
    for (auto &object : host.allDomains()) {
        Domain domain = Domain::lock(object.get());
        if (!domain.object()->autostart || domain.active())
            continue;
        if (auto started = migration::startPersistent(domain, {}); !started)
            log(base::LogLevel::Error, "cannot autostart domain '%s': %s", domain.def()->name,
                started.error().message.c_str());
    }
}

static void logToLibvirt(base::LogLevel level, const char *text)
{
    static virLogSource source = {"godwit", 0, 0};
    static constexpr virLogPriority priorities[] = {VIR_LOG_DEBUG, VIR_LOG_DEBUG, VIR_LOG_INFO, VIR_LOG_WARN,
                                                    VIR_LOG_ERROR};
    virLogMessage(&source, priorities[static_cast<unsigned>(level)], "", 0, "", nullptr, "%s", text);
}

/// Xen's Host, where there is a Xen. Anything else is for those to hear who ask for it.
static void openXen(bool privileged, domain::Inhibitor inhibitor)
{
    auto open = [&]() -> Result<std::shared_ptr<Host>> {
        if (!hypervisor::isXenHost())
            return hypervisor::xenUnavailable();
        if (!privileged)
            return makeError(ErrorCode::OperationInvalid, "%s", tr("only the system's own daemon may drive Xen"));
        return Host::open(TRY(conf::Settings::forXen()), std::move(inhibitor), migration::dismissLater);
    };
    auto opened = open();
    std::lock_guard lock(hosts().mutex);
    if (!opened) {
        if (hypervisor::isXenHost())
            log(base::LogLevel::Error, "xen:///system: %s", opened.error().message.c_str());
        hosts().noXen = opened.error();
        return;
    }
    hosts().xen = *opened;
    migration::settleInterrupted(*hosts().xen);
    hosts().xen->post([host = hosts().xen.get()] { autostartDomains(*host); });
}

static Result<void> initializeDaemon(bool privileged, virStateInhibitCallback inhibit, void *opaque)
{
    auto settings = TRY(conf::Settings::forDaemon(privileged));
    domain::Inhibitor inhibitor = [inhibit, opaque](bool hold) {
        if (inhibit)
            inhibit(hold, opaque);
    };
    domain::Inhibitor xenInhibitor = inhibitor;
    std::shared_ptr<Host> host = TRY(Host::open(std::move(settings), std::move(inhibitor), migration::dismissLater));
    migration::settleInterrupted(*host);
    {
        std::lock_guard lock(hosts().mutex);
        hosts().daemon = host;
        hosts().privileged = privileged;
    }
    openXen(privileged, std::move(xenInhibitor));
    // Network and storage drivers, which a guest may need, are up by the time that the
    // daemon serves clients; the worker starts what is to start by itself.
    host->post([host = host.get()] { autostartDomains(*host); });
    return {};
}

static virDrvStateInitResult stateInitialize(bool privileged, const char *root, bool,
                                             virStateInhibitCallback inhibit, void *opaque) noexcept
{
    base::setLogSink(logToLibvirt);
    // Embedded Hosts belong to connections: this is called once, whatever number of roots.
    if (root)
        return VIR_DRV_STATE_INIT_COMPLETE;
    try {
        auto done = initializeDaemon(privileged, inhibit, opaque);
        if (done)
            return VIR_DRV_STATE_INIT_COMPLETE;
        conf::raise(done.error());
    } catch (const std::exception &exception) {
        conf::raise(makeError(ErrorCode::Internal, "%s", exception.what()));
    }
    return VIR_DRV_STATE_INIT_ERROR;
}

static Result<void> stateCleanup()
{
    std::shared_ptr<Host> host, xen;
    std::lock_guard lock(hosts().mutex);
    host.swap(hosts().daemon);
    xen.swap(hosts().xen);
    return {};
}

static Result<void> stateReload()
{
    std::shared_ptr<Host> host, xen;
    {
        std::lock_guard lock(hosts().mutex);
        host = hosts().daemon;
        xen = hosts().xen;
    }
    if (host)
        TRY(host->reload());
    if (xen)
        TRY(xen->reload());
    return {};
}

virStateDriver stateDriver = {
    .name = "godwit",
    .stateInitialize = stateInitialize,
    .stateCleanup = entry<stateCleanup>,
    .stateReload = entry<stateReload>,
};

} // namespace godwit::driver

// What libvirt's loader looks for: NAMERegister, once per name the module is found by.
// Both may be called, in any order, and more than once.

extern "C" {

__attribute__((visibility("default"))) int godwitRegister(void)
{
    using namespace godwit::driver;
    // Shared drivers: networks, storage and the like of the same daemon, where it has them.
    static const bool registered = virRegisterConnectDriver(&connectDriver, true) >= 0 &&
                                   virRegisterConnectDriver(&xenConnectDriver, true) >= 0 &&
                                   virRegisterStateDriver(&stateDriver) >= 0;
    return registered ? 0 : -1;
}

__attribute__((visibility("default"))) int libxlRegister(void)
{
    return godwitRegister();
}
}
