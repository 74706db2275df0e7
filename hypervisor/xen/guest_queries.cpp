// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/i18n.h"
#include "base/strprintf.h"
#include "conf/libvirt_error.h"
#include "hypervisor/xen/config.h"
#include "hypervisor/xen/guest.h"

#include <fstream>

namespace godwit::hypervisor::xen {

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::strprintf;
using base::tr;

// What a guest has of its host, and what it makes of it.

/// libxl's list of a domain's vCPUs.
struct VcpuList {
    int count = 0, hostCpus = 0;
    libxl_vcpuinfo *vcpus = nullptr;
    ~VcpuList() { libxl_vcpuinfo_list_free(vcpus, count); }
    VcpuList(libxl_ctx *ctx, uint32_t domid) { vcpus = libxl_list_vcpu(ctx, domid, &count, &hostCpus); }
    VcpuList(const VcpuList &) = delete;
    VcpuList &operator=(const VcpuList &) = delete;
};

Result<std::vector<VcpuStatus>> XenGuest::vcpus()
{
    std::vector<VcpuStatus> all;
    for (const VcpuFigures &vcpu : TRY(vcpuFigures()))
        all.push_back({vcpu.id, 0, vcpu.halted});
    return all;
}

Result<std::vector<VcpuFigures>> XenGuest::vcpuFigures()
{
    const uint32_t domain = TRY(domid());
    auto operation = TRY(Operation::open());
    const VcpuList list(operation->context(), domain);
    if (!list.vcpus)
        return operation->context().failure(ERROR_FAIL, inContext(tr("asking for its vCPUs")));
    std::vector<VcpuFigures> all;
    for (int i = 0; i < list.count; i++) {
        const libxl_vcpuinfo &from = list.vcpus[i];
        if (!from.online)
            continue;
        VcpuFigures to;
        to.id = from.vcpuid;
        to.halted = from.blocked;
        to.hostCpu = static_cast<int>(from.cpu);
        to.cpuTime = from.vcpu_time;
        all.push_back(to);
    }
    return all;
}

Result<CpuTimes> XenGuest::cpuTimes()
{
    // A guest that is not whole yet has used nothing.
    const auto domain = domid();
    if (!domain)
        return CpuTimes();
    auto operation = TRY(Operation::open());
    DomainInfo state;
    TRY(info(operation->context(), state));
    return CpuTimes{.total = state->cpu_time};
}

Result<CpuSet> XenGuest::vcpuAffinity(unsigned id)
{
    const uint32_t domain = TRY(domid());
    auto operation = TRY(Operation::open());
    const VcpuList list(operation->context(), domain);
    if (!list.vcpus)
        return operation->context().failure(ERROR_FAIL, inContext(tr("asking for its vCPUs")));
    for (int i = 0; i < list.count; i++) {
        if (list.vcpus[i].vcpuid != id)
            continue;
        CpuSet cpus(virBitmapNew(static_cast<size_t>(list.hostCpus)));
        for (int cpu = 0; cpu < list.hostCpus; cpu++) {
            if (libxl_bitmap_test(&list.vcpus[i].cpumap, cpu))
                virBitmapSetBitExpand(cpus.get(), static_cast<size_t>(cpu));
        }
        return cpus;
    }
    return makeError(ErrorCode::InvalidArgument, tr("there is no vCPU %u in domain '%s'"), id, facts_.name.c_str());
}

Result<NodeSet> XenGuest::nodeAffinity()
{
    const uint32_t domain = TRY(domid());
    auto operation = TRY(Operation::open());
    Context &context = operation->context();
    const std::string what = inContext(tr("asking for its NUMA nodes"));
    const int count = libxl_get_max_nodes(context);
    if (count <= 0)
        return context.failure(count, what);
    NodeMap map;
    TRY(context.check(libxl_node_bitmap_alloc(context, map.get(), count), what));
    TRY(context.check(libxl_domain_get_nodeaffinity(context, domain, map.get()), what));
    NodeSet nodes(virBitmapNew(static_cast<size_t>(count)));
    for (int node = 0; node < count; node++) {
        if (libxl_bitmap_test(map.get(), node))
            virBitmapSetBitExpand(nodes.get(), static_cast<size_t>(node));
    }
    return nodes;
}

/// A set of host CPUs as libxl has it.
static Result<void> toLibxl(Context &context, virBitmap *cpus, CpuMap &out)
{
    TRY(context.check(libxl_cpu_bitmap_alloc(context, out.get(), 0), tr("asking for the host's CPUs")));
    libxl_bitmap_set_none(out.get());
    for (ssize_t cpu = -1; (cpu = virBitmapNextSetBit(cpus, cpu)) >= 0;)
        libxl_bitmap_set(out.get(), static_cast<int>(cpu));
    return {};
}

Result<void> XenGuest::setVcpuAffinity(unsigned id, virBitmap *cpus)
{
    const uint32_t domain = TRY(domid());
    auto operation = TRY(Operation::open());
    CpuMap map;
    TRY(toLibxl(operation->context(), cpus, map));
    return operation->context().check(
        libxl_set_vcpuaffinity(operation->context(), domain, id, map.get(), nullptr),
        inContext(strprintf(tr("pinning vCPU %u"), id).c_str()));
}

Result<void> XenGuest::setVcpus(unsigned count)
{
    return run(tr("setting its number of vCPUs"), [&](libxl_ctx *ctx, uint32_t domain, const libxl_asyncop_how *how) {
        CpuMap map;
        if (int failed = libxl_cpu_bitmap_alloc(ctx, map.get(), static_cast<int>(count)))
            return failed;
        libxl_bitmap_set_none(map.get());
        for (unsigned i = 0; i < count; i++)
            libxl_bitmap_set(map.get(), static_cast<int>(i));
        return libxl_set_vcpuonline(ctx, domain, map.get(), how);
    });
}

// ---- memory ------------------------------------------------------------------------------

Result<BalloonStats> XenGuest::balloonStats()
{
    BalloonStats stats;
    stats.actualKib = TRY(residentKib());
    return stats;
}

Result<uint64_t> XenGuest::residentKib()
{
    auto operation = TRY(Operation::open());
    DomainInfo state;
    TRY(info(operation->context(), state));
    return state->current_memkb;
}

Result<void> XenGuest::setBalloon(uint64_t kib)
{
    const uint32_t domain = TRY(domid());
    auto operation = TRY(Operation::withXenstore());
    TRY(operation->context().check(
        libxl_set_memory_target(operation->context(), domain, static_cast<int64_t>(kib), 0, /* enforce= */ 1),
        inContext(tr("setting its memory"))));
    if (auto listener = this->listener())
        listener->balloonChanged(kib);
    return {};
}

Result<void> XenGuest::setMaxMemory(uint64_t kib)
{
    const uint32_t domain = TRY(domid());
    auto operation = TRY(Operation::withXenstore());
    return operation->context().check(libxl_domain_setmaxmem(operation->context(), domain, kib),
                                      inContext(tr("setting its maximum memory")));
}

Result<void> XenGuest::setBalloonPeriod(unsigned)
{
    return unsupported(tr("reports of the balloon driver"));
}

// ---- disks -------------------------------------------------------------------------------

static uint64_t readCounter(const std::string &path)
{
    uint64_t value = 0;
    std::ifstream(path) >> value;
    return value;
}

Result<BlockStats> XenGuest::blockStats(const std::string &diskAlias)
{
    constexpr uint64_t sectorSize = 512;
    const uint32_t domain = TRY(domid());
    auto operation = TRY(Operation::withXenstore());
    // assignAliases() made the alias of the target's name.
    const std::string target = diskAlias.starts_with("disk-") ? diskAlias.substr(strlen("disk-")) : diskAlias;
    Disk disk;
    TRY(operation->context().check(libxl_vdev_to_device_disk(operation->context(), domain, target.c_str(), disk.get()),
                                   inContext(strprintf(tr("finding disk '%s'"), target.c_str()).c_str())));
    libxl_diskinfo found;
    libxl_diskinfo_init(&found);
    const int failed = libxl_device_disk_getinfo(operation->context(), domain, disk.get(), &found);
    const int device = found.devid;
    libxl_diskinfo_dispose(&found);
    TRY(operation->context().check(failed, inContext(tr("finding a disk"))));
    const std::string path = strprintf("/sys/bus/xen-backend/devices/vbd-%u-%d/statistics/", domain, device);
    if (!virFileExists(path.c_str()))
        return unsupported(strprintf(tr("counters of disk '%s', which the kernel of dom0 does not serve"),
                                     target.c_str()));
    BlockStats stats;
    stats.readRequests = readCounter(path + "rd_req");
    stats.writeRequests = readCounter(path + "wr_req");
    stats.flushRequests = readCounter(path + "f_req");
    stats.readBytes = readCounter(path + "rd_sect") * sectorSize;
    stats.writeBytes = readCounter(path + "wr_sect") * sectorSize;
    return stats;
}

// ---- the scheduler -----------------------------------------------------------------------

Result<SchedulerParameters> XenGuest::schedulerParameters()
{
    const uint32_t domain = TRY(domid());
    auto operation = TRY(Operation::open());
    SchedulerParams params;
    TRY(operation->context().check(libxl_domain_sched_params_get(operation->context(), domain, params.get()),
                                   inContext(tr("asking for its scheduler parameters"))));
    return SchedulerParameters{static_cast<unsigned>(params->weight), static_cast<unsigned>(params->cap)};
}

Result<void> XenGuest::setSchedulerParameters(const SchedulerParameters &wanted)
{
    const uint32_t domain = TRY(domid());
    auto operation = TRY(Operation::open());
    SchedulerParams params;
    TRY(operation->context().check(libxl_domain_sched_params_get(operation->context(), domain, params.get()),
                                   inContext(tr("asking for its scheduler parameters"))));
    if (wanted.weight)
        params->weight = static_cast<int>(*wanted.weight);
    if (wanted.cap)
        params->cap = static_cast<int>(*wanted.cap);
    return operation->context().check(libxl_domain_sched_params_set(operation->context(), domain, params.get()),
                                      inContext(tr("setting its scheduler parameters")));
}

// ---- the rest ----------------------------------------------------------------------------

Result<void> XenGuest::dumpCore(const std::string &path)
{
    TRY(requireNotHost());
    return run(tr("dumping its core"), [&](libxl_ctx *ctx, uint32_t domain, const libxl_asyncop_how *how) {
        return libxl_domain_core_dump(ctx, domain, path.c_str(), how);
    }, Operation::open);
}

Result<void> XenGuest::injectNmi()
{
    return run(tr("injecting an NMI"), [](libxl_ctx *ctx, uint32_t domain, const libxl_asyncop_how *how) {
        return libxl_send_trigger(ctx, domain, LIBXL_TRIGGER_NMI, 0, how);
    }, Operation::open);
}

Result<void> XenGuest::sendKeys(const std::vector<unsigned> &, unsigned)
{
    return unsupported(tr("keys sent to a guest"));
}

Result<base::UniqueFd> XenGuest::screenshot(unsigned)
{
    return unsupported(tr("screenshots"));
}

} // namespace godwit::hypervisor::xen
