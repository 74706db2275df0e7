// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/guest_stats.h"

#include "base/bytes.h"
#include "base/i18n.h"

#include <array>
#include <fcntl.h>
#include <sys/stat.h>

namespace godwit::driver {

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::systemError;
using base::tr;
using domain::Domain;
using hypervisor::BalloonStats;
using hypervisor::BlockStats;

static void accumulate(BlockStats &sum, const BlockStats &disk)
{
    sum.readRequests += disk.readRequests;
    sum.readBytes += disk.readBytes;
    sum.readTime += disk.readTime;
    sum.writeRequests += disk.writeRequests;
    sum.writeBytes += disk.writeBytes;
    sum.writeTime += disk.writeTime;
    sum.flushRequests += disk.flushRequests;
    sum.flushTime += disk.flushTime;
}

/// The aliases of the disks that `disk` stands for.
static Result<std::vector<std::string>> aliasesOf(const Domain &domain, const char *disk)
{
    virDomainDef *def = domain.def();
    std::vector<std::string> aliases;
    if (*disk) {
        virDomainDiskDef *found = virDomainDiskByName(def, disk, false);
        if (!found || !found->info.alias)
            return makeError(ErrorCode::InvalidArgument, tr("domain '%s' has no disk '%s'"), def->name, disk);
        aliases.push_back(found->info.alias);
        return aliases;
    }
    for (size_t i = 0; i < def->ndisks; i++) {
        if (def->disks[i]->info.alias && !virStorageSourceIsEmpty(def->disks[i]->src))
            aliases.push_back(def->disks[i]->info.alias);
    }
    return aliases;
}

Result<BlockStats> blockStatsByAlias(Domain &domain, const std::string &alias)
{
    auto guest = TRY(domain.guest());
    BlockStats stats = TRY(domain.unlocked([&] { return guest->blockStats(alias); }));
    TRY(domain.requireActive());
    return stats;
}

Result<BlockStats> blockStatsOf(Domain &domain, const char *disk)
{
    TRY(domain.requireActive());
    BlockStats sum;
    for (const std::string &alias : TRY(aliasesOf(domain, disk)))
        accumulate(sum, TRY(blockStatsByAlias(domain, alias)));
    return sum;
}

static void addKnown(std::vector<virDomainMemoryStatStruct> &stats, virDomainMemoryStatTags tag, int64_t value)
{
    if (value >= 0)
        stats.push_back({tag, static_cast<unsigned long long>(value)});
}

Result<std::vector<virDomainMemoryStatStruct>> memoryStatsOf(Domain &domain)
{
    auto guest = TRY(domain.guest());
    std::vector<virDomainMemoryStatStruct> stats;
    if (virDomainDefHasMemballoon(domain.def())) {
        const BalloonStats balloon = TRY(domain.unlocked([&] { return guest->balloonStats(); }));
        TRY(domain.requireActive());
        addKnown(stats, VIR_DOMAIN_MEMORY_STAT_ACTUAL_BALLOON, static_cast<int64_t>(balloon.actualKib));
        addKnown(stats, VIR_DOMAIN_MEMORY_STAT_SWAP_IN, balloon.swapInKib);
        addKnown(stats, VIR_DOMAIN_MEMORY_STAT_SWAP_OUT, balloon.swapOutKib);
        addKnown(stats, VIR_DOMAIN_MEMORY_STAT_MAJOR_FAULT, balloon.majorFaults);
        addKnown(stats, VIR_DOMAIN_MEMORY_STAT_MINOR_FAULT, balloon.minorFaults);
        addKnown(stats, VIR_DOMAIN_MEMORY_STAT_UNUSED, balloon.unusedKib);
        addKnown(stats, VIR_DOMAIN_MEMORY_STAT_AVAILABLE, balloon.availableKib);
        addKnown(stats, VIR_DOMAIN_MEMORY_STAT_USABLE, balloon.usableKib);
        addKnown(stats, VIR_DOMAIN_MEMORY_STAT_LAST_UPDATE, balloon.lastUpdate);
        addKnown(stats, VIR_DOMAIN_MEMORY_STAT_DISK_CACHES, balloon.diskCachesKib);
    }
    const uint64_t resident = TRY(domain.unlocked([&] { return guest->residentKib(); }));
    TRY(domain.requireActive());
    addKnown(stats, VIR_DOMAIN_MEMORY_STAT_RSS, static_cast<int64_t>(resident));
    return stats;
}

Result<std::vector<VcpuFigures>> vcpuFiguresOf(Domain &domain)
{
    auto guest = TRY(domain.guest());
    auto figures = TRY(domain.unlocked([&] { return guest->vcpuFigures(); }));
    TRY(domain.requireActive());
    return figures;
}

Result<virDomainInterfaceStatsStruct> interfaceStatsOf(const virDomainNetDef *net)
{
    if (!net->ifname) {
        char mac[VIR_MAC_STRING_BUFLEN];
        return makeError(ErrorCode::Unsupported, tr("interface %s is of type '%s': the host keeps no counters of it"),
                         virMacAddrFormat(&net->mac, mac), virDomainNetTypeToString(net->type));
    }
    virDomainInterfaceStatsStruct stats{};
    TRY(conf::check(virNetDevTapInterfaceStats(net->ifname, &stats, !virDomainNetTypeSharesHostView(net))));
    return stats;
}

/// A qcow2 image says its virtual size in its header (version 1 to 3: bytes 24 to 31).
static unsigned long long qcow2Capacity(int fd, unsigned long long otherwise)
{
    std::array<std::byte, 32> header{};
    if (pread(fd, header.data(), header.size(), 0) != static_cast<ssize_t>(header.size()))
        return otherwise;
    base::Reader in(header, base::ByteOrder::big);
    auto magic = in.u32();
    if (!magic || *magic != 0x514649fb || !in.bytes(20))
        return otherwise;
    return in.u64().value_or(otherwise);
}

Result<ImageSize> imageSizeOf(const std::string &path, int format)
{
    base::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    struct stat status {};
    if (!fd || fstat(fd.get(), &status) < 0)
        return systemError(errno, tr("cannot read '%s'"), path.c_str());
    ImageSize size;
    if (S_ISBLK(status.st_mode)) {
        const off_t end = lseek(fd.get(), 0, SEEK_END);
        if (end < 0)
            return systemError(errno, tr("cannot find the end of '%s'"), path.c_str());
        size.physical = size.allocation = static_cast<unsigned long long>(end);
    } else {
        size.physical = static_cast<unsigned long long>(status.st_size);
        size.allocation = static_cast<unsigned long long>(status.st_blocks) * 512;
    }
    size.capacity = format == VIR_STORAGE_FILE_QCOW2 ? qcow2Capacity(fd.get(), size.physical) : size.physical;
    return size;
}

} // namespace godwit::driver
