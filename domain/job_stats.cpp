// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/job_stats.h"

#include "domain/job.h"

namespace godwit::domain {

using conf::TypedParams;
using hypervisor::TransferProgress;

static constexpr uint64_t pageSize = 4096;

static const TransferProgress &figures(const virDomainJobData *data)
{
    return *static_cast<const TransferProgress *>(data->privateData);
}

unsigned long long timeRemaining(const virDomainJobData *data)
{
    const TransferProgress &progress = figures(data);
    return progress.bandwidth ? progress.memoryRemaining * 1000 / progress.bandwidth : 0;
}

static void addTimes(const virDomainJobData *data, bool completed, TypedParams &params)
{
    const TransferProgress &progress = figures(data);
    params.add(VIR_DOMAIN_JOB_OPERATION, static_cast<int>(data->operation));
    params.add(VIR_DOMAIN_JOB_TIME_ELAPSED, data->timeElapsed ? data->timeElapsed : progress.elapsed);
    if (!completed && timeRemaining(data))
        params.add(VIR_DOMAIN_JOB_TIME_REMAINING, timeRemaining(data));
    const uint64_t downtime = completed ? progress.downtime : progress.expectedDowntime;
    if (downtime)
        params.add(VIR_DOMAIN_JOB_DOWNTIME, downtime);
    if (progress.setup)
        params.add(VIR_DOMAIN_JOB_SETUP_TIME, progress.setup);
    if (completed) {
        params.add(VIR_DOMAIN_JOB_SUCCESS, data->status == VIR_DOMAIN_JOB_STATUS_COMPLETED);
        if (data->errmsg)
            params.add(VIR_DOMAIN_JOB_ERRMSG, static_cast<const char *>(data->errmsg));
    }
}

static void addMemory(const TransferProgress &progress, TypedParams &params)
{
    params.add(VIR_DOMAIN_JOB_DATA_TOTAL, progress.memoryTotal);
    params.add(VIR_DOMAIN_JOB_DATA_PROCESSED, progress.bytesSent);
    params.add(VIR_DOMAIN_JOB_DATA_REMAINING, progress.memoryRemaining);
    params.add(VIR_DOMAIN_JOB_MEMORY_TOTAL, progress.memoryTotal);
    params.add(VIR_DOMAIN_JOB_MEMORY_PROCESSED, progress.memoryProcessed);
    params.add(VIR_DOMAIN_JOB_MEMORY_REMAINING, progress.memoryRemaining);
    if (progress.bandwidth)
        params.add(VIR_DOMAIN_JOB_MEMORY_BPS, progress.bandwidth);
    params.add(VIR_DOMAIN_JOB_MEMORY_CONSTANT, progress.constantPages);
    params.add(VIR_DOMAIN_JOB_MEMORY_NORMAL, progress.normalPages);
    params.add(VIR_DOMAIN_JOB_MEMORY_NORMAL_BYTES, progress.normalPages * pageSize);
    params.add(VIR_DOMAIN_JOB_MEMORY_DIRTY_RATE, progress.dirtyPagesPerSecond);
    params.add(VIR_DOMAIN_JOB_MEMORY_ITERATION, progress.iteration);
    params.add(VIR_DOMAIN_JOB_MEMORY_PAGE_SIZE, pageSize);
    if (!progress.tracker.empty())
        params.add("memory_dirty_tracker", progress.tracker.c_str());
    if (progress.connections)
        params.add("memory_connections", progress.connections);
    if (!progress.restore.empty())
        params.add("memory_restore", progress.restore.c_str());
}

TypedParams jobStats(const virDomainJobData *data, bool completed)
{
    TypedParams params;
    addTimes(data, completed, params);
    addMemory(figures(data), params);
    return params;
}

} // namespace godwit::domain
