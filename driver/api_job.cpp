// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/job.h"
#include "domain/job_stats.h"
#include "driver/api.h"
#include "driver/connection.h"
#include "driver/entry.h"

#include <algorithm>

namespace godwit::driver {

// Long jobs (save, restore, migration): watched, steered, stopped.

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::tr;
using domain::Domain;
using domain::Job;
using hypervisor::TransferProgress;

static constexpr uint64_t bytesPerMib = 1024 * 1024;
static constexpr uint64_t maxDowntimeMs = 2'000'000;

using JobData = std::unique_ptr<virDomainJobData, conf::FreeWith<virDomainJobDataFree>>;

/// A copy of the data of the job that runs, or of the last one; null if there is none.
static JobData jobDataOf(const Domain &domain, bool completed)
{
    const virDomainJobObj *job = domain.object()->job;
    // What completed last is told only when nothing runs.
    virDomainJobData *data = completed ? (job->current ? nullptr : job->completed) : job->current;
    JobData copy(data ? virDomainJobDataCopy(data) : nullptr);
    if (copy && copy->status == VIR_DOMAIN_JOB_STATUS_NONE)
        copy.reset();
    if (copy && !completed) {
        unsigned long long now = 0;
        if (virTimeMillisNow(&now) == 0 && now > copy->started)
            copy->timeElapsed = now - copy->started;
    }
    return copy;
}

static Result<void> getJobInfo(virDomainPtr handle, virDomainJobInfoPtr info)
{
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainGetJobInfoEnsureACL>(handle, domain));
    *info = {};
    JobData data = jobDataOf(domain, false);
    if (!data)
        return {};
    const TransferProgress &progress = domain::progressOf(data.get());
    info->type = virDomainJobStatusToType(data->status);
    info->timeElapsed = data->timeElapsed;
    info->timeRemaining = domain::timeRemaining(data.get());
    info->dataTotal = info->memTotal = progress.memoryTotal;
    info->dataProcessed = info->memProcessed = progress.memoryProcessed;
    info->dataRemaining = info->memRemaining = progress.memoryRemaining;
    return {};
}

static Result<void> getJobStats(virDomainPtr handle, int *type, virTypedParameterPtr *params, int *count,
                                unsigned flags)
{
    TRY(checkFlags(flags, VIR_DOMAIN_JOB_STATS_COMPLETED | VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainGetJobStatsEnsureACL>(handle, domain));
    const bool completed = flags & VIR_DOMAIN_JOB_STATS_COMPLETED;
    *type = VIR_DOMAIN_JOB_NONE;
    *params = nullptr;
    *count = 0;
    JobData data = jobDataOf(domain, completed);
    if (!data)
        return {};
    *count = TRY(domain::jobStats(data.get(), completed).take(params));
    *type = virDomainJobStatusToType(data->status);
    if (completed && !(flags & VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED))
        g_clear_pointer(&domain.object()->job->completed, virDomainJobDataFree);
    return {};
}

static Result<void> requireAbortable(const Domain &domain)
{
    switch (domain.object()->job->asyncJob) {
    case VIR_ASYNC_JOB_SAVE:
    case VIR_ASYNC_JOB_MIGRATION_OUT: return {};
    case VIR_ASYNC_JOB_MIGRATION_IN:
        return makeError(ErrorCode::OperationInvalid, "%s",
                         tr("an incoming migration is aborted on its source, or by destroying the domain"));
    case VIR_ASYNC_JOB_START:
        return makeError(ErrorCode::OperationInvalid, "%s",
                         tr("a domain that is being started or restored is stopped by destroying it"));
    default:
        return makeError(ErrorCode::OperationInvalid, tr("domain '%s' has no job to abort"), domain.def()->name);
    }
}

static Result<void> abortJobFlags(virDomainPtr handle, unsigned flags)
{
    TRY(checkFlags(flags, 0));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainAbortJobFlagsEnsureACL>(handle, domain));
    auto job = TRY(Job::begin(domain, VIR_JOB_ABORT));
    TRY(requireAbortable(domain));
    auto guest = TRY(domain.guest());
    domain.object()->job->abortJob = true;
    return guest->abortTransfer();
}

static Result<void> abortJob(virDomainPtr handle)
{
    return abortJobFlags(handle, 0);
}

/// Change limits for the next transfer, and for the one that runs.
template <typename Change>
static Result<void> changeLimits(Domain &domain, Change &&change)
{
    change(domain.data().limits);
    change(domain.data().transferLimits);
    const virDomainAsyncJob running = domain.object()->job->asyncJob;
    if (!domain.active() || (running != VIR_ASYNC_JOB_MIGRATION_OUT && running != VIR_ASYNC_JOB_SAVE))
        return {};
    auto guest = TRY(domain.guest());
    const auto limits = domain.data().transferLimits;
    Result<void> set = domain.unlocked([&] { return guest->setLimits(limits); });
    // A migration that has not begun to send takes them from the domain when it does.
    if (!set && set.error().code == ErrorCode::OperationInvalid)
        return {};
    return set;
}

static Result<void> setMaxDowntime(virDomainPtr handle, unsigned long long milliseconds, unsigned flags)
{
    TRY(checkFlags(flags, 0));
    if (milliseconds < 1 || milliseconds > maxDowntimeMs)
        return makeError(ErrorCode::InvalidArgument, tr("the maximum downtime must be between 1 and %llu ms"),
                         static_cast<unsigned long long>(maxDowntimeMs));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainMigrateSetMaxDowntimeEnsureACL>(handle, domain));
    auto job = TRY(Job::begin(domain, VIR_JOB_MIGRATION_OP));
    TRY(domain.requireActive());
    return changeLimits(domain, [&](auto &limits) { limits.downtime = std::chrono::milliseconds(milliseconds); });
}

static Result<void> getMaxDowntime(virDomainPtr handle, unsigned long long *milliseconds, unsigned flags)
{
    TRY(checkFlags(flags, 0));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainMigrateGetMaxDowntimeEnsureACL>(handle, domain));
    TRY(domain.requireActive());
    *milliseconds = static_cast<unsigned long long>(domain.data().limits.downtime.count());
    return {};
}

/// In MiB/s, as everywhere in libvirt; what is too much to count in bytes means unlimited.
static Result<void> setMaxSpeed(virDomainPtr handle, unsigned long mibPerSecond, unsigned flags)
{
    TRY(checkFlags(flags, 0));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainMigrateSetMaxSpeedEnsureACL>(handle, domain));
    auto job = TRY(Job::begin(domain, VIR_JOB_MIGRATION_OP));
    const uint64_t bandwidth = mibPerSecond > INT64_MAX / bytesPerMib ? 0 : mibPerSecond * bytesPerMib;
    return changeLimits(domain, [&](auto &limits) { limits.bandwidth = bandwidth; });
}

static Result<void> getMaxSpeed(virDomainPtr handle, unsigned long *mibPerSecond, unsigned flags)
{
    TRY(checkFlags(flags, 0));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainMigrateGetMaxSpeedEnsureACL>(handle, domain));
    *mibPerSecond = domain.data().limits.bandwidth / bytesPerMib;
    return {};
}

void fillJobApi(virHypervisorDriver &table)
{
    table.domainGetJobInfo = entry<getJobInfo>;
    table.domainGetJobStats = entry<getJobStats>;
    table.domainAbortJob = entry<abortJob>;
    table.domainAbortJobFlags = entry<abortJobFlags>;
    table.domainMigrateSetMaxDowntime = entry<setMaxDowntime>;
    table.domainMigrateGetMaxDowntime = entry<getMaxDowntime>;
    table.domainMigrateSetMaxSpeed = entry<setMaxSpeed>;
    table.domainMigrateGetMaxSpeed = entry<getMaxSpeed>;
}

} // namespace godwit::driver
