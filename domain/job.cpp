// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/job.h"

#include "base/i18n.h"
#include "domain/host.h"
#include "domain/job_stats.h"

namespace godwit::domain {

using base::ErrorCode;
using base::Result;
using base::tr;
using hypervisor::TransferProgress;

static void *allocateProgress()
{
    return new TransferProgress;
}

static void *copyProgress(void *data)
{
    return new TransferProgress(*static_cast<TransferProgress *>(data));
}

static void freeProgress(void *data)
{
    delete static_cast<TransferProgress *>(data);
}

virDomainJobObjConfig jobConfig()
{
    virDomainJobObjConfig config{};
    config.jobDataPrivateCb.allocPrivateData = allocateProgress;
    config.jobDataPrivateCb.copyPrivateData = copyProgress;
    config.jobDataPrivateCb.freePrivateData = freeProgress;
    return config;
}

TransferProgress &progressOf(virDomainJobData *data)
{
    return *static_cast<TransferProgress *>(data->privateData);
}

Result<Job> Job::begin(Domain &domain, virDomainJob kind)
{
    TRY(conf::check(virDomainObjBeginJob(domain.object(), kind)));
    return Job(domain.object());
}

Result<Job> Job::beginNowait(Domain &domain, virDomainJob kind)
{
    TRY(conf::check(virDomainObjBeginJobNowait(domain.object(), kind)));
    return Job(domain.object());
}

Job::~Job()
{
    if (object_)
        virDomainObjEndJob(object_);
}

AsyncJob::AsyncJob(virDomainObj *object)
    : object_(object), watched_(static_cast<virDomainObj *>(virObjectRef(object)))
{
}

Result<std::unique_ptr<AsyncJob>> AsyncJob::begin(Domain &domain, virDomainAsyncJob kind,
                                                  virDomainJobOperation operation, unsigned apiFlags)
{
    TRY(conf::check(virDomainObjBeginAsyncJob(domain.object(), kind, operation, apiFlags)));
    std::unique_ptr<AsyncJob> job(new AsyncJob(domain.object()));
    domain.object()->job->mask = VIR_JOB_DEFAULT_MASK | JOB_MASK(VIR_JOB_SUSPEND) |
                                 JOB_MASK(VIR_JOB_MIGRATION_OP) | JOB_MASK(VIR_JOB_MODIFY_MIGRATION_SAFE);
    // A start takes its room when it turns out to read an image.
    if (operation != VIR_DOMAIN_JOB_OPERATION_START)
        domain.data().slot = std::make_shared<TransferSlot>(TRY(domain.host().takeTransferSlot(domain.name())));
    return job;
}

Result<std::unique_ptr<AsyncJob>> AsyncJob::resume(Domain &domain, virDomainAsyncJob kind)
{
    virDomainJobObj *job = domain.object()->job;
    if (job->asyncJob != kind)
        return makeError(ErrorCode::OperationInvalid, tr("domain '%s' is not in the phase of a migration"),
                         domain.def()->name);
    job->asyncOwner = virThreadSelfID();
    return std::unique_ptr<AsyncJob>(new AsyncJob(domain.object()));
}

AsyncJob::~AsyncJob()
{
    if (object_) {
        privateData(object_).slot.reset();
        virDomainObjEndAsyncJob(object_);
    }
    virObjectUnref(watched_);
}

void AsyncJob::finish(virDomainJobStatus status)
{
    virDomainJobObj *job = watched_->job;
    if (!job->current)
        return;
    job->current->status = status;
    g_clear_pointer(&job->completed, virDomainJobDataFree);
    job->completed = virDomainJobDataCopy(job->current);
    virTypedParameterPtr params = nullptr;
    if (auto count = jobStats(job->completed, true).take(&params))
        privateData(watched_).host->queueEvent(virDomainEventJobCompletedNewFromObj(watched_, params, *count));
}

void AsyncJob::update(const TransferProgress &progress)
{
    if (watched_->job->current)
        progressOf(watched_->job->current) = progress;
}

void AsyncJob::complete(const TransferProgress &progress)
{
    update(progress);
    finish(VIR_DOMAIN_JOB_STATUS_COMPLETED);
}

void AsyncJob::fail(const base::Error &error)
{
    if (watched_->job->current)
        watched_->job->current->errmsg = g_strdup(error.message.c_str());
    finish(error.code == ErrorCode::Aborted ? VIR_DOMAIN_JOB_STATUS_CANCELED : VIR_DOMAIN_JOB_STATUS_FAILED);
}

// On the event thread: the lock is only ever held for short there (domain.h).
void AsyncJob::transferProgress(const TransferProgress &progress)
{
    virObjectLock(watched_);
    if (virDomainJobData *data = watched_->job->current) {
        data->status = VIR_DOMAIN_JOB_STATUS_MIGRATING;
        progressOf(data) = progress;
    }
    virObjectEvent *event = nullptr;
    if (progress.iteration != lastIteration_ && watched_->job->asyncJob == VIR_ASYNC_JOB_MIGRATION_OUT) {
        lastIteration_ = progress.iteration;
        event = virDomainEventMigrationIterationNewFromObj(watched_, static_cast<int>(progress.iteration));
    }
    Host &host = *privateData(watched_).host;
    virObjectUnlock(watched_);
    if (event)
        host.queueEvent(event);
}

} // namespace godwit::domain
