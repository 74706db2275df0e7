// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/strprintf.h"
#include "domain/job.h"
#include "driver/api.h"
#include "driver/connection.h"
#include "driver/entry.h"
#include "driver/guest_stats.h"
#include "conf/typed_params.h"

#include <algorithm>
#include <array>
#include <optional>

namespace godwit::driver {

// Everything about many domains at once (virsh domstats). A figure that cannot be had
// is left out; only what concerns the call as a whole fails it.

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::strprintf;
using base::tr;
using conf::TypedParams;
using domain::Domain;
using domain::Job;

static void addState(Domain &domain, bool, TypedParams &params)
{
    int reason = 0;
    const int state = domain.state(&reason);
    params.add("state.state", state);
    params.add("state.reason", reason);
}

static void addCpu(Domain &domain, bool, TypedParams &params)
{
    const std::shared_ptr<hypervisor::Guest> guest = domain.data().guest;
    auto times = guest ? domain.unlocked([&] { return guest->cpuTimes(); }) : hypervisor::CpuTimes();
    if (!guest || !times)
        return;
    params.add("cpu.time", times->total);
    if (!times->user && !times->system)
        return;
    params.add("cpu.user", times->user);
    params.add("cpu.system", times->system);
}

static const char *balloonName(int tag)
{
    switch (tag) {
    case VIR_DOMAIN_MEMORY_STAT_SWAP_IN: return "balloon.swap_in";
    case VIR_DOMAIN_MEMORY_STAT_SWAP_OUT: return "balloon.swap_out";
    case VIR_DOMAIN_MEMORY_STAT_MAJOR_FAULT: return "balloon.major_fault";
    case VIR_DOMAIN_MEMORY_STAT_MINOR_FAULT: return "balloon.minor_fault";
    case VIR_DOMAIN_MEMORY_STAT_UNUSED: return "balloon.unused";
    case VIR_DOMAIN_MEMORY_STAT_AVAILABLE: return "balloon.available";
    case VIR_DOMAIN_MEMORY_STAT_RSS: return "balloon.rss";
    case VIR_DOMAIN_MEMORY_STAT_USABLE: return "balloon.usable";
    case VIR_DOMAIN_MEMORY_STAT_LAST_UPDATE: return "balloon.last-update";
    case VIR_DOMAIN_MEMORY_STAT_DISK_CACHES: return "balloon.disk_caches";
    default: return nullptr;
    }
}

static void addBalloon(Domain &domain, bool mayAsk, TypedParams &params)
{
    virDomainDef *def = domain.def();
    const unsigned long long maximum = virDomainDefGetMemoryTotal(def);
    params.add("balloon.current", virDomainDefHasMemballoon(def) ? def->mem.cur_balloon : maximum);
    params.add("balloon.maximum", maximum);
    if (!mayAsk)
        return;
    auto stats = memoryStatsOf(domain);
    if (!stats)
        return;
    for (const virDomainMemoryStatStruct &stat : *stats) {
        if (const char *name = balloonName(stat.tag))
            params.add(name, stat.val);
    }
}

static void addVcpu(Domain &domain, bool mayAsk, TypedParams &params)
{
    params.add("vcpu.current", virDomainDefGetVcpus(domain.def()));
    params.add("vcpu.maximum", virDomainDefGetVcpusMax(domain.def()));
    if (!mayAsk)
        return;
    auto vcpus = vcpuFiguresOf(domain);
    if (!vcpus)
        return;
    for (const VcpuFigures &vcpu : *vcpus) {
        const std::string prefix = strprintf("vcpu.%u.", vcpu.id);
        params.add(prefix + "state", static_cast<int>(VIR_VCPU_RUNNING));
        params.add(prefix + "time", vcpu.cpuTime);
        params.add(prefix + "wait", vcpu.waitTime);
        params.add(prefix + "halted", vcpu.halted);
    }
}

static void addInterface(Domain &domain, bool, TypedParams &params)
{
    if (!domain.active())
        return;
    const virDomainDef *def = domain.def();
    params.add("net.count", static_cast<unsigned>(def->nnets));
    for (size_t i = 0; i < def->nnets; i++) {
        if (!def->nets[i]->ifname)
            continue;
        const std::string prefix = strprintf("net.%zu.", i);
        params.add(prefix + "name", static_cast<const char *>(def->nets[i]->ifname));
        auto stats = interfaceStatsOf(def->nets[i]);
        if (!stats)
            continue;
        const std::pair<const char *, long long> named[] = {
            {"rx.bytes", stats->rx_bytes}, {"rx.pkts", stats->rx_packets}, {"rx.errs", stats->rx_errs},
            {"rx.drop", stats->rx_drop},   {"tx.bytes", stats->tx_bytes},  {"tx.pkts", stats->tx_packets},
            {"tx.errs", stats->tx_errs},   {"tx.drop", stats->tx_drop},
        };
        for (const auto &[name, value] : named) {
            if (value >= 0)
                params.add(prefix + name, static_cast<unsigned long long>(value));
        }
    }
}

/// What is reported of one disk; copied, since the domain is unlocked while its guest is asked.
struct DiskView {
    std::string target, path, alias;
    int format = 0;

    explicit DiskView(const virDomainDiskDef *disk)
        : target(disk->dst), alias(disk->info.alias ? disk->info.alias : ""), format(disk->src->format)
    {
        if (virStorageSourceIsLocalStorage(disk->src) && disk->src->path)
            path = disk->src->path;
    }
};

static void addBlockCounters(const std::string &prefix, const hypervisor::BlockStats &stats, TypedParams &params)
{
    params.add(prefix + "rd.reqs", stats.readRequests);
    params.add(prefix + "rd.bytes", stats.readBytes);
    params.add(prefix + "rd.times", stats.readTime);
    params.add(prefix + "wr.reqs", stats.writeRequests);
    params.add(prefix + "wr.bytes", stats.writeBytes);
    params.add(prefix + "wr.times", stats.writeTime);
    params.add(prefix + "fl.reqs", stats.flushRequests);
    params.add(prefix + "fl.times", stats.flushTime);
}

static void addBlock(Domain &domain, bool mayAsk, TypedParams &params)
{
    std::vector<DiskView> disks;
    for (size_t i = 0; i < domain.def()->ndisks; i++)
        disks.emplace_back(domain.def()->disks[i]);
    params.add("block.count", static_cast<unsigned>(disks.size()));
    for (size_t i = 0; i < disks.size(); i++) {
        const DiskView &disk = disks[i];
        const std::string prefix = strprintf("block.%zu.", i);
        params.add(prefix + "name", disk.target.c_str());
        if (disk.path.empty())
            continue;
        params.add(prefix + "path", disk.path.c_str());
        if (mayAsk && !disk.alias.empty()) {
            if (auto stats = blockStatsByAlias(domain, disk.alias))
                addBlockCounters(prefix, *stats, params);
        }
        auto size = domain.unlocked([&] { return imageSizeOf(disk.path, disk.format); });
        if (!size)
            continue;
        params.add(prefix + "allocation", size->allocation);
        params.add(prefix + "capacity", size->capacity);
        params.add(prefix + "physical", size->physical);
    }
}

/// A group of figures. `mayAsk`: a job is held, so the guest may be asked.
struct StatsGroup {
    virDomainStatsTypes type;
    bool asks;
    void (*add)(Domain &domain, bool mayAsk, TypedParams &params);
};

static constexpr auto groups = std::to_array<StatsGroup>({
    {VIR_DOMAIN_STATS_STATE, false, addState},
    {VIR_DOMAIN_STATS_CPU_TOTAL, false, addCpu},
    {VIR_DOMAIN_STATS_BALLOON, true, addBalloon},
    {VIR_DOMAIN_STATS_VCPU, true, addVcpu},
    {VIR_DOMAIN_STATS_INTERFACE, false, addInterface},
    {VIR_DOMAIN_STATS_BLOCK, true, addBlock},
});

static Result<unsigned> chosenGroups(unsigned wanted, bool enforce)
{
    unsigned known = 0;
    for (const StatsGroup &group : groups)
        known |= group.type;
    if (wanted == 0)
        return known;
    if (enforce && (wanted & ~known))
        return makeError(ErrorCode::Unsupported, tr("statistics of types 0x%x are not offered"), wanted & ~known);
    return wanted & known;
}

/// A job for asking the guest: none where nothing is to be asked, the domain is off, or
/// others keep theirs for longer than the caller wants to wait.
static std::optional<Job> jobForAsking(Domain &domain, unsigned wanted, bool nowait)
{
    auto needsJob = [wanted](const StatsGroup &group) { return group.asks && (wanted & group.type); };
    if (!domain.active() || std::none_of(groups.begin(), groups.end(), needsJob))
        return {};
    auto job = nowait ? Job::beginNowait(domain, VIR_JOB_QUERY) : Job::begin(domain, VIR_JOB_QUERY);
    if (!job)
        return {};
    return std::move(job).value();
}

static Result<virDomainStatsRecordPtr> recordOf(virConnectPtr connection, Domain &domain, unsigned wanted, bool nowait)
{
    TypedParams params;
    const std::optional<Job> job = jobForAsking(domain, wanted, nowait);
    for (const StatsGroup &group : groups) {
        if (wanted & group.type)
            group.add(domain, job.has_value() && domain.active(), params);
    }
    const virDomainDef *def = domain.def();
    auto handle = conf::ObjectRef<virDomain>::adopt(
        TRY(conf::check(virGetDomain(connection, def->name, def->uuid, def->id))));
    std::unique_ptr<virDomainStatsRecord, conf::FreeWith<g_free>> record(g_new0(virDomainStatsRecord, 1));
    record->nparams = TRY(params.take(&record->params));
    record->dom = handle.release();
    return record.release();
}

using Objects = std::vector<conf::ObjectRef<virDomainObj>>;

static Result<Objects> chosenDomains(virConnectPtr connection, virDomainPtr *domains, unsigned count, unsigned filter)
{
    virDomainObjList *list = hostOf(connection).domains();
    virDomainObj **found = nullptr;
    size_t foundCount = 0;
    if (count > 0)
        TRY(conf::check(virDomainObjListConvert(list, connection, domains, count, &found, &foundCount,
                                                virConnectGetAllDomainStatsCheckACL, filter, true)));
    else
        virDomainObjListCollect(list, connection, &found, &foundCount, virConnectGetAllDomainStatsCheckACL, filter);
    Objects objects;
    for (size_t i = 0; i < foundCount; i++)
        objects.push_back(conf::ObjectRef<virDomainObj>::adopt(found[i]));
    g_free(found);
    return objects;
}

static constexpr unsigned filterFlags = VIR_CONNECT_LIST_DOMAINS_FILTERS_ACTIVE |
                                        VIR_CONNECT_LIST_DOMAINS_FILTERS_PERSISTENT |
                                        VIR_CONNECT_LIST_DOMAINS_FILTERS_STATE;

static Result<int> getAllDomainStats(virConnectPtr connection, virDomainPtr *domains, unsigned count, unsigned stats,
                                     virDomainStatsRecordPtr **records, unsigned flags)
{
    // Backing images have no counters of their own here: that flag adds nothing.
    TRY(checkFlags(flags, filterFlags | VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT |
                              VIR_CONNECT_GET_ALL_DOMAINS_STATS_BACKING |
                              VIR_CONNECT_GET_ALL_DOMAINS_STATS_ENFORCE_STATS));
    TRY(access<virConnectGetAllDomainStatsEnsureACL>(connection));
    const unsigned wanted = TRY(chosenGroups(stats, flags & VIR_CONNECT_GET_ALL_DOMAINS_STATS_ENFORCE_STATS));
    const Objects objects = TRY(chosenDomains(connection, domains, count, flags & filterFlags));
    std::unique_ptr<virDomainStatsRecordPtr, conf::FreeWith<virDomainStatsRecordListFree>> all(
        g_new0(virDomainStatsRecordPtr, objects.size() + 1));
    for (size_t i = 0; i < objects.size(); i++) {
        Domain domain = Domain::lock(objects[i].get());
        all.get()[i] = TRY(recordOf(connection, domain, wanted, flags & VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT));
    }
    *records = all.release();
    return static_cast<int>(objects.size());
}

void fillStatsApi(virHypervisorDriver &table)
{
    table.connectGetAllDomainStats = entry<getAllDomainStats>;
}

} // namespace godwit::driver
