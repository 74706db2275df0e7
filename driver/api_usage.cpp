// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/job.h"
#include "driver/api.h"
#include "driver/connection.h"
#include "driver/entry.h"

#include <algorithm>

namespace godwit::driver {

// What a running guest uses of its host's processors, and of its NUMA nodes.

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::tr;
using domain::Domain;
using domain::Job;

static Result<void> assign(virTypedParameterPtr param, const char *name, unsigned long long value)
{
    return conf::check(virTypedParameterAssign(param, name, VIR_TYPED_PARAM_ULLONG, value));
}

/// Of all processors together; answers how many parameters there are.
static Result<int> totalCpuStats(Domain &domain, virTypedParameterPtr params, unsigned room)
{
    auto guest = TRY(domain.guest());
    const hypervisor::CpuTimes times = TRY(domain.unlocked([&] { return guest->cpuTimes(); }));
    const std::pair<const char *, unsigned long long> named[] = {
        {VIR_DOMAIN_CPU_STATS_CPUTIME, times.total},
        {VIR_DOMAIN_CPU_STATS_USERTIME, times.user},
        {VIR_DOMAIN_CPU_STATS_SYSTEMTIME, times.system},
    };
    // Where only the total is known, that is all.
    const unsigned known = times.user || times.system ? std::size(named) : 1;
    if (room == 0)
        return static_cast<int>(known);
    const unsigned count = std::min(room, known);
    for (unsigned i = 0; i < count; i++)
        TRY(assign(&params[i], named[i].first, named[i].second));
    return static_cast<int>(count);
}

/// Of one after the other, which are the guest's, as for libvirt's driver for Xen. One parameter each.
static Result<int> vcpuStats(Domain &domain, virTypedParameterPtr params, unsigned room, unsigned first, unsigned count)
{
    if (room == 0)
        return count == 0 ? static_cast<int>(virDomainDefGetVcpusMax(domain.def())) : 1;
    auto guest = TRY(domain.guest());
    const auto figures = TRY(domain.unlocked([&] { return guest->vcpuFigures(); }));
    for (const hypervisor::VcpuFigures &vcpu : figures) {
        if (vcpu.id >= first && vcpu.id - first < count)
            TRY(assign(&params[(vcpu.id - first) * room], VIR_DOMAIN_CPU_STATS_CPUTIME, vcpu.cpuTime));
    }
    return 1;
}

static Result<int> getCpuStats(virDomainPtr handle, virTypedParameterPtr params, unsigned room, int first,
                               unsigned count, unsigned flags)
{
    TRY(checkFlags(flags, VIR_TYPED_PARAM_STRING_OKAY));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainGetCPUStatsEnsureACL>(handle, domain));
    auto job = TRY(Job::begin(domain, VIR_JOB_QUERY));
    TRY(domain.requireActive());
    if (first == -1)
        return totalCpuStats(domain, params, room);
    return vcpuStats(domain, params, room, static_cast<unsigned>(first), count);
}

static constexpr int numaParameters = 2;

/// Where the hypervisor may take the guest's memory from.
static Result<void> getNumaParameters(virDomainPtr handle, virTypedParameterPtr params, int *count, unsigned flags)
{
    TRY(checkFlags(flags, unsigned{VIR_DOMAIN_AFFECT_LIVE} | VIR_TYPED_PARAM_STRING_OKAY));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainGetNumaParametersEnsureACL>(handle, domain));
    auto job = TRY(Job::begin(domain, VIR_JOB_QUERY));
    auto guest = TRY(domain.guest());
    const auto nodes = TRY(domain.unlocked([&] { return guest->nodeAffinity(); }));
    if (*count == 0) {
        *count = numaParameters;
        return {};
    }
    // Memory comes from all of the nodes in turn.
    TRY(conf::check(virTypedParameterAssign(&params[0], VIR_DOMAIN_NUMA_MODE, VIR_TYPED_PARAM_INT,
                                            VIR_DOMAIN_NUMATUNE_MEM_INTERLEAVE)));
    *count = std::min(*count, numaParameters);
    if (*count == 1)
        return {};
    conf::Text set(virBitmapFormat(nodes.get()));
    return conf::check(virTypedParameterAssign(&params[1], VIR_DOMAIN_NUMA_NODESET, VIR_TYPED_PARAM_STRING, set.release()));
}

void fillUsageApi(virHypervisorDriver &table)
{
    table.domainGetCPUStats = entry<getCpuStats>;
    table.domainGetNumaParameters = entry<getNumaParameters>;
}

} // namespace godwit::driver
