// SPDX-License-Identifier: LGPL-2.1-or-later
#include "migration/recovery.h"

#include "base/i18n.h"
#include "base/log.h"
#include "domain/host.h"
#include "domain/lifecycle.h"
#include "migration/verdict.h"
#include "migration/witness.h"

#include <poll.h>

namespace godwit::migration {

using base::ErrorCode;
using base::LogLevel;
using base::makeError;
using base::Result;
using base::tr;
using domain::AsyncJob;
using domain::Domain;
using domain::Host;
using domain::MigrationLink;
using domain::MigrationPhase;

void enterPhase(Domain &domain, MigrationPhase phase)
{
    domain.data().phase = phase;
    if (phase == MigrationPhase::None)
        domain.data().link = {};
    domain.saveStatus();
}

void goOn(Domain &domain, std::chrono::steady_clock::time_point noticed)
{
    auto guest = domain.guest();
    if (!guest || !domain.data().ranBeforeMigration)
        return;
    auto resumed = domain.host().services().holdLeases(domain);
    if (resumed)
        resumed = domain.unlocked([&] { return (*guest)->resume(hypervisor::ResumeMode::Fast); });
    if (!resumed) {
        log(LogLevel::Error, "domain '%s': cannot resume after a cancelled migration: %s", domain.def()->name,
            resumed.error().message.c_str());
        domain.queueLifecycle(VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_API_ERROR);
        return;
    }
    log(LogLevel::Info, "domain '%s': resumed %.1f ms after its migration was known to have failed", domain.def()->name,
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - noticed).count());
    if (domain.active())
        domain.setState(VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_MIGRATION_CANCELED, VIR_DOMAIN_EVENT_RESUMED,
                        VIR_DOMAIN_EVENT_RESUMED_MIGRATED);
}

void undefine(Domain &domain)
{
    const conf::Settings &settings = domain.host().settings();
    if (!domain.persistent())
        return;
    if (virDomainDeleteConfig(settings.configDir.c_str(), settings.autostartDir.c_str(), domain.object()) < 0) {
        log(LogLevel::Warning, "domain '%s': %s", domain.def()->name, conf::takeLibvirtError().message.c_str());
        return;
    }
    domain.object()->persistent = 0;
    domain.queueLifecycle(VIR_DOMAIN_EVENT_UNDEFINED, VIR_DOMAIN_EVENT_UNDEFINED_REMOVED);
}

void dismissLater(Host &host, const MigrationLink &link)
{
    if (link.secret.empty())
        return;
    // A daemon that is just being restarted will listen again: it is told, too.
    host.background().run([link, stopFd = host.background().stopFd()] {
        pollfd stopped{stopFd, POLLIN, 0};
        for (std::chrono::milliseconds pause(1000); !dismiss(link) && pause < linger / 2; pause *= 2) {
            if (::poll(&stopped, 1, static_cast<int>(pause.count())) > 0)
                return;
        }
    });
}

Result<void> endSource(Domain &domain)
{
    if (domain.data().undefineAfterMigration)
        undefine(domain);
    return domain::destroyDomain(domain, false, VIR_DOMAIN_SHUTOFF_MIGRATED, VIR_DOMAIN_EVENT_STOPPED_MIGRATED);
}

base::Error stayPaused(Domain &domain, AsyncJob &job, const base::Error &why)
{
    base::Error error = makeError(ErrorCode::OperationFailed,
                                  tr("domain '%s' was sent, and its destination cannot be asked whether it runs there "
                                     "(%s): it stays paused here; 'virsh resume' if it does not run there"),
                                  domain.def()->name, why.message.c_str());
    log(LogLevel::Error, "%s", error.message.c_str());
    domain.queueLifecycle(VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_API_ERROR);
    // The phase stays: the next process asks again, unless the user has decided by then.
    job.fail(error);
    return error;
}

Result<void> settleSent(Domain &domain, AsyncJob &job)
{
    const auto noticed = std::chrono::steady_clock::now();
    const MigrationLink link = domain.data().link;
    const Result<Verdict> verdict = domain.unlocked([&]() -> Result<Verdict> {
        if (link.secret.empty())
            return makeError(ErrorCode::Unsupported, "%s", tr("it does not answer such questions"));
        return ask(link, domain.host().background().stopFd());
    });
    TRY(domain.requireActive());
    // The status file says what there is to ask: the next process does.
    if (!verdict && verdict.error().code == ErrorCode::Aborted)
        return verdict.error();
    if (!verdict)
        return stayPaused(domain, job, verdict.error());
    if (*verdict == Verdict::Started) {
        log(LogLevel::Info, "domain '%s' runs on the destination of its migration", domain.def()->name);
        if (virDomainJobData *data = domain.object()->job->current)
            job.complete(hypervisor::TransferProgress(domain::progressOf(data)));
        return endSource(domain);
    }
    goOn(domain, noticed);
    dismissLater(domain.host(), link);
    enterPhase(domain, MigrationPhase::None);
    job.fail(makeError(ErrorCode::Aborted, "%s", tr("the migration was cancelled")));
    return {};
}

void settleSentBeside(Domain &domain)
{
    domain.host().background().run([reference = conf::ObjectRef<virDomainObj>::share(domain.object()),
                                    incarnation = domain.data().events] {
        Domain later = Domain::lock(reference.get());
        if (later.data().events != incarnation || later.data().phase != MigrationPhase::Performed)
            return;
        if (auto job = AsyncJob::resume(later, VIR_ASYNC_JOB_MIGRATION_OUT))
            (void)settleSent(later, **job).has_value();   // told in the log, by events and in the state
    });
}

/// A copy that nobody will finish: end it, unless it runs already; and write it down for the source.
static Result<void> settleReceived(Domain &domain)
{
    Host &host = domain.host();
    const MigrationLink link = domain.data().link;
    const std::string path = witnessPath(host, domain.def(), link.port);
    const bool runs = domain.data().phase == MigrationPhase::Launch && TRY(domain.guest())->running();
    if (runs)
        domain::keepLaunched(domain);
    else
        TRY(domain::destroyDomain(domain, false, VIR_DOMAIN_SHUTOFF_FAILED, VIR_DOMAIN_EVENT_STOPPED_FAILED));
    return writeRecord(path, {link, runs ? Verdict::Started : Verdict::Ended, std::chrono::system_clock::now() + linger});
}

static Result<void> settleInterrupted(Domain &domain)
{
    const MigrationPhase phase = domain.data().phase;
    if (!domain.active())
        return {};
    if (phase == MigrationPhase::Performed) {
        auto job = TRY(AsyncJob::begin(domain, VIR_ASYNC_JOB_MIGRATION_OUT, VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT, 0));
        job->keep();
        settleSentBeside(domain);
    } else if (phase == MigrationPhase::Receive || phase == MigrationPhase::Launch) {
        auto job = TRY(domain::Job::begin(domain, VIR_JOB_DESTROY));
        return settleReceived(domain);
    } else {
        // Interrupted in Perform, and running on: the destination may have it whole, and wait for the question.
        dismissLater(domain.host(), std::exchange(domain.data().link, {}));
    }
    return {};
}

void settleInterrupted(Host &host)
{
    for (auto &object : host.allDomains()) {
        Domain domain = Domain::lock(object.get());
        if (auto settled = settleInterrupted(domain); !settled)
            log(LogLevel::Error, "domain '%s': %s", domain.def()->name, settled.error().message.c_str());
    }
    for (const std::string &path : witnessPaths(host)) {
        if (auto resumed = Witness::resume(path, host); !resumed)
            log(LogLevel::Warning, "%s", resumed.error().message.c_str());
    }
}

} // namespace godwit::migration
