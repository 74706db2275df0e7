// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/machine/guest.h"

#include "base/i18n.h"

#include <fcntl.h>

namespace godwit::hypervisor::machine {

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::systemError;
using base::tr;
using base::UniqueFd;

Result<void> MachineGuest::collectDescription()
{
    const Json devices = TRY(call("query-chardev"));
    std::lock_guard lock(mutex_);
    for (const Json &device : devices.elements()) {
        const std::string label = device["label"].string().value_or("");
        const std::string file = device["filename"].string().value_or("");
        if (label.starts_with("char") && file.starts_with("pty:"))
            ptys_[label.substr(4)] = file.substr(4);
    }
    return {};
}

Result<std::vector<VcpuStatus>> MachineGuest::vcpus()
{
    const Json answer = TRY(call("query-cpus-fast"));
    std::vector<VcpuStatus> vcpus;
    for (const Json &cpu : answer.elements()) {
        VcpuStatus status;
        status.id = static_cast<unsigned>(cpu["cpu-index"].integer().value_or(0));
        status.thread = static_cast<pid_t>(cpu["thread-id"].integer().value_or(0));
        vcpus.push_back(status);
    }
    return vcpus;
}

static bool isDevice(const std::string &path, const std::string &alias)
{
    const std::string device = "/machine/peripheral/" + alias;
    return path == alias || path == device || path.starts_with(device + "/");
}

Result<BlockStats> MachineGuest::blockStats(const std::string &diskAlias)
{
    const Json answer = TRY(call("query-blockstats"));
    for (const Json &device : answer.elements()) {
        if (!isDevice(device["qdev"].string().value_or(""), diskAlias))
            continue;
        const Json stats = device["stats"];
        const auto number = [&](const char *name) { return static_cast<uint64_t>(stats[name].integer().value_or(0)); };
        BlockStats out;
        out.readRequests = number("rd_operations");
        out.readBytes = number("rd_bytes");
        out.readTime = number("rd_total_time_ns");
        out.writeRequests = number("wr_operations");
        out.writeBytes = number("wr_bytes");
        out.writeTime = number("wr_total_time_ns");
        out.flushRequests = number("flush_operations");
        out.flushTime = number("flush_total_time_ns");
        return out;
    }
    return makeError(ErrorCode::OperationFailed, tr("the emulator knows no disk '%s'"), diskAlias.c_str());
}

/// A figure of the balloon driver's; what the guest does not tell is all ones.
static int64_t balloonFigure(const Json &stats, const char *name, int64_t unit)
{
    const int64_t value = stats[name].integer().value_or(-1);
    return value < 0 ? -1 : value / unit;
}

Result<BalloonStats> MachineGuest::balloonStats()
{
    BalloonStats out;
    out.actualKib = facts_.ramBytes / 1024;
    if (!facts_.hasBalloon)
        return out;
    const Json balloon = TRY(call("query-balloon"));
    out.actualKib = static_cast<uint64_t>(balloon["actual"].integer().value_or(0)) / 1024;
    const Json answer = TRY(call("qom-get", Json::object({{"path", "/machine/peripheral/" + facts_.balloonAlias},
                                                          {"property", "guest-stats"}})));
    const Json stats = answer["stats"];
    out.swapInKib = balloonFigure(stats, "stat-swap-in", 1024);
    out.swapOutKib = balloonFigure(stats, "stat-swap-out", 1024);
    out.majorFaults = balloonFigure(stats, "stat-major-faults", 1);
    out.minorFaults = balloonFigure(stats, "stat-minor-faults", 1);
    out.unusedKib = balloonFigure(stats, "stat-free-memory", 1024);
    out.availableKib = balloonFigure(stats, "stat-total-memory", 1024);
    out.usableKib = balloonFigure(stats, "stat-available-memory", 1024);
    out.diskCachesKib = balloonFigure(stats, "stat-disk-caches", 1024);
    const int64_t updated = answer["last-update"].integer().value_or(0);
    out.lastUpdate = updated > 0 ? updated : -1;
    return out;
}

Result<void> MachineGuest::setBalloon(uint64_t kib)
{
    if (!facts_.hasBalloon)
        return makeError(ErrorCode::OperationInvalid, "%s", tr("the guest has no memory balloon"));
    TRY(call("balloon", Json::object({{"value", kib * 1024}})));
    return {};
}

Result<void> MachineGuest::setBalloonPeriod(unsigned seconds)
{
    if (!facts_.hasBalloon)
        return makeError(ErrorCode::OperationInvalid, "%s", tr("the guest has no memory balloon"));
    TRY(call("qom-set", Json::object({{"path", "/machine/peripheral/" + facts_.balloonAlias},
                                      {"property", "guest-stats-polling-interval"},
                                      {"value", static_cast<int64_t>(seconds)}})));
    return {};
}

Result<void> MachineGuest::sendKeys(const std::vector<unsigned> &qnums, unsigned holdMs)
{
    std::vector<Json> keys;
    for (const unsigned qnum : qnums)
        keys.push_back(Json::object({{"type", "number"}, {"data", static_cast<int64_t>(qnum)}}));
    TRY(call("send-key", Json::object({{"keys", Json::array(keys)},
                                       {"hold-time", holdMs ? Json(static_cast<int64_t>(holdMs)) : Json()}})));
    return {};
}

Result<UniqueFd> MachineGuest::screenshot(unsigned screen)
{
    if (!facts_.hasVideo)
        return makeError(ErrorCode::OperationInvalid, "%s", tr("the guest has no video device"));
    const std::string path = facts_.runDir + "/screen.ppm";
    TRY(call("screendump", Json::object({{"filename", path}, {"device", facts_.videoAlias},
                                         {"head", static_cast<int64_t>(screen)}})));
    UniqueFd picture(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    const int failed = errno;
    ::unlink(path.c_str());
    if (!picture)
        return systemError(failed, tr("cannot open '%s'"), path.c_str());
    return picture;
}

Result<void> MachineGuest::injectNmi()
{
    TRY(call("inject-nmi"));
    return {};
}

} // namespace godwit::hypervisor::machine
