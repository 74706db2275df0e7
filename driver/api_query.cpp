// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/job.h"
#include "driver/api.h"
#include "driver/connection.h"
#include "driver/entry.h"
#include "driver/guest_stats.h"

#include <algorithm>

namespace godwit::driver {

// What a domain is doing: state, times, counters.

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::tr;
using domain::Domain;
using domain::Job;

static Result<void> getInfo(virDomainPtr handle, virDomainInfoPtr info)
{
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainGetInfoEnsureACL>(handle, domain));
    const virDomainDef *def = domain.def();
    *info = {};
    info->state = static_cast<unsigned char>(domain.state());
    info->maxMem = virDomainDefGetMemoryTotal(def);
    info->memory = def->mem.cur_balloon;
    info->nrVirtCpu = static_cast<unsigned short>(virDomainDefGetVcpus(def));
    // A guest that is being started, or is going, has used what it has used.
    if (std::shared_ptr<hypervisor::Guest> guest = domain.data().guest) {
        auto times = domain.unlocked([&] { return guest->cpuTimes(); });
        if (times)
            info->cpuTime = times->total;
        else if (domain.active() && domain.data().guest == guest)
            return std::move(times).error();
    }
    return {};
}

static Result<void> getState(virDomainPtr handle, int *state, int *reason, unsigned flags)
{
    TRY(checkFlags(flags, 0));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainGetStateEnsureACL>(handle, domain));
    *state = domain.state(reason);
    return {};
}

/// Since when (milliseconds), for a point in time that libvirt's job code noted.
static Result<unsigned> millisecondsSince(unsigned long long start)
{
    unsigned long long now = 0;
    TRY(conf::check(virTimeMillisNow(&now)));
    return static_cast<unsigned>(now - std::min(now, start));
}

static Result<void> getControlInfo(virDomainPtr handle, virDomainControlInfoPtr info, unsigned flags)
{
    TRY(checkFlags(flags, 0));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainGetControlInfoEnsureACL>(handle, domain));
    TRY(domain.requireActive());
    const virDomainJobObj *job = domain.object()->job;
    *info = {};
    info->state = VIR_DOMAIN_CONTROL_OK;
    if (job->asyncJob != VIR_ASYNC_JOB_NONE) {
        info->state = VIR_DOMAIN_CONTROL_JOB;
        info->stateTime = TRY(millisecondsSince(job->asyncStarted));
    } else if (job->active != VIR_JOB_NONE) {
        info->state = VIR_DOMAIN_CONTROL_OCCUPIED;
        info->stateTime = TRY(millisecondsSince(job->started));
    }
    return {};
}

static Result<int> getVcpus(virDomainPtr handle, virVcpuInfoPtr info, int maxInfo, unsigned char *maps, int mapLength)
{
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainGetVcpusEnsureACL>(handle, domain));
    auto job = TRY(Job::begin(domain, VIR_JOB_QUERY));
    const auto vcpus = TRY(vcpuFiguresOf(domain));
    const auto guest = TRY(domain.guest());
    const size_t count = std::min(vcpus.size(), static_cast<size_t>(std::max(maxInfo, 0)));
    for (size_t i = 0; i < count; i++) {
        if (info)
            info[i] = {vcpus[i].id, VIR_VCPU_RUNNING, vcpus[i].cpuTime, vcpus[i].hostCpu};
        if (!maps)
            continue;
        const unsigned id = vcpus[i].id;
        const hypervisor::CpuSet cpus = TRY(domain.unlocked([&] { return guest->vcpuAffinity(id); }));
        virBitmapToDataBuf(cpus.get(), VIR_GET_CPUMAP(maps, mapLength, i), static_cast<size_t>(mapLength));
    }
    return static_cast<int>(count);
}

static Result<void> blockStats(virDomainPtr handle, const char *disk, virDomainBlockStatsPtr stats)
{
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainBlockStatsEnsureACL>(handle, domain));
    auto job = TRY(Job::begin(domain, VIR_JOB_QUERY));
    const hypervisor::BlockStats counters = TRY(blockStatsOf(domain, disk));
    stats->rd_req = static_cast<long long>(counters.readRequests);
    stats->rd_bytes = static_cast<long long>(counters.readBytes);
    stats->wr_req = static_cast<long long>(counters.writeRequests);
    stats->wr_bytes = static_cast<long long>(counters.writeBytes);
    stats->errs = -1;   // not counted
    return {};
}

static Result<void> blockStatsFlags(virDomainPtr handle, const char *disk, virTypedParameterPtr params, int *count,
                                    unsigned flags)
{
    TRY(checkFlags(flags, VIR_TYPED_PARAM_STRING_OKAY));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainBlockStatsFlagsEnsureACL>(handle, domain));
    auto job = TRY(Job::begin(domain, VIR_JOB_QUERY));
    const hypervisor::BlockStats counters = TRY(blockStatsOf(domain, disk));
    const std::pair<const char *, uint64_t> named[] = {
        {VIR_DOMAIN_BLOCK_STATS_WRITE_BYTES, counters.writeBytes},
        {VIR_DOMAIN_BLOCK_STATS_WRITE_REQ, counters.writeRequests},
        {VIR_DOMAIN_BLOCK_STATS_READ_BYTES, counters.readBytes},
        {VIR_DOMAIN_BLOCK_STATS_READ_REQ, counters.readRequests},
        {VIR_DOMAIN_BLOCK_STATS_FLUSH_REQ, counters.flushRequests},
        {VIR_DOMAIN_BLOCK_STATS_WRITE_TOTAL_TIMES, counters.writeTime},
        {VIR_DOMAIN_BLOCK_STATS_READ_TOTAL_TIMES, counters.readTime},
        {VIR_DOMAIN_BLOCK_STATS_FLUSH_TOTAL_TIMES, counters.flushTime},
    };
    // With room for none, a client asks how many there are.
    const int room = *count;
    *count = static_cast<int>(std::size(named));
    if (room == 0)
        return {};
    *count = std::min(*count, room);
    for (int i = 0; i < *count; i++)
        TRY(conf::check(virTypedParameterAssign(&params[i], named[i].first, VIR_TYPED_PARAM_LLONG,
                                                static_cast<long long>(named[i].second))));
    return {};
}

static Result<void> interfaceStats(virDomainPtr handle, const char *device, virDomainInterfaceStatsPtr stats)
{
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainInterfaceStatsEnsureACL>(handle, domain));
    TRY(domain.requireActive());
    const virDomainNetDef *net = TRY(conf::check(virDomainNetFind(domain.def(), device)));
    *stats = TRY(interfaceStatsOf(net));
    return {};
}

static Result<int> memoryStats(virDomainPtr handle, virDomainMemoryStatPtr stats, unsigned maxStats, unsigned flags)
{
    TRY(checkFlags(flags, 0));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainMemoryStatsEnsureACL>(handle, domain));
    auto job = TRY(Job::begin(domain, VIR_JOB_QUERY));
    const auto all = TRY(memoryStatsOf(domain));
    const size_t count = std::min<size_t>(all.size(), maxStats);
    std::copy_n(all.begin(), count, stats);
    return static_cast<int>(count);
}

static Result<void> getBlockInfo(virDomainPtr handle, const char *path, virDomainBlockInfoPtr info, unsigned flags)
{
    TRY(checkFlags(flags, 0));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainGetBlockInfoEnsureACL>(handle, domain));
    auto job = TRY(Job::begin(domain, VIR_JOB_QUERY));
    const virDomainDiskDef *disk = virDomainDiskByName(domain.def(), path, false);
    if (!disk)
        return makeError(ErrorCode::InvalidArgument, tr("domain '%s' has no disk '%s'"), domain.def()->name, path);
    if (virStorageSourceIsEmpty(disk->src))
        return makeError(ErrorCode::InvalidArgument, tr("there is no medium in disk '%s'"), path);
    if (!virStorageSourceIsLocalStorage(disk->src))
        return makeError(ErrorCode::Unsupported, tr("disk '%s' is neither a file nor a block device"), path);
    const std::string image = disk->src->path;
    const int format = disk->src->format;
    const ImageSize size = TRY(domain.unlocked([&] { return imageSizeOf(image, format); }));
    info->capacity = size.capacity;
    info->allocation = size.allocation;
    info->physical = size.physical;
    return {};
}

static Result<int> interfaceAddresses(virDomainPtr handle, virDomainInterfacePtr **interfaces, unsigned source,
                                      unsigned flags)
{
    TRY(checkFlags(flags, 0));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainInterfaceAddressesEnsureACL>(handle, domain, source));
    TRY(domain.requireActive());
    switch (source) {
    case VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE:
        return number(virDomainNetDHCPInterfaces(domain.def(), interfaces));
    case VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP:
        return number(virDomainNetARPInterfaces(domain.def(), interfaces));
    default:
        return makeError(ErrorCode::Unsupported, "%s",
                         tr("addresses are known from DHCP leases and the ARP table only, not from a guest agent"));
    }
}

static Result<int> getMessages(virDomainPtr handle, char ***messages, unsigned flags)
{
    TRY(checkFlags(flags, VIR_DOMAIN_MESSAGE_DEPRECATION | VIR_DOMAIN_MESSAGE_TAINTING));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainGetMessagesEnsureACL>(handle, domain));
    return number(virDomainObjGetMessages(domain.object(), messages, flags));
}

void fillQueryApi(virHypervisorDriver &table)
{
    table.domainGetInfo = entry<getInfo>;
    table.domainGetState = entry<getState>;
    table.domainGetControlInfo = entry<getControlInfo>;
    table.domainGetVcpus = entry<getVcpus>;
    table.domainBlockStats = entry<blockStats>;
    table.domainBlockStatsFlags = entry<blockStatsFlags>;
    table.domainInterfaceStats = entry<interfaceStats>;
    table.domainMemoryStats = entry<memoryStats>;
    table.domainGetBlockInfo = entry<getBlockInfo>;
    table.domainInterfaceAddresses = entry<interfaceAddresses>;
    table.domainGetMessages = entry<getMessages>;
}

} // namespace godwit::driver
