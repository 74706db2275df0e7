// SPDX-License-Identifier: LGPL-2.1-or-later
// A guest whose pages were still coming when the process that cared for it ended. Its helper goes
// on; we take its place, because there is no way to speak to it: it is ended, and another one
// started on the same image and userfaultfd. Whoever waits for a page meanwhile goes on waiting.
#include "hypervisor/machine/pending_memory.h"

#include "base/i18n.h"
#include "base/log.h"
#include "base/strprintf.h"
#include "conf/handle.h"
#include "hypervisor/machine/agent_offer.h"

#include <cinttypes>
#include <dirent.h>
#include <fcntl.h>
#include <fstream>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

namespace godwit::hypervisor::machine {

using base::ErrorCode;
using base::LogLevel;
using base::makeError;
using base::Result;
using base::strprintf;
using base::systemError;
using base::tr;
using base::UniqueFd;

static bool readField(xmlXPathContextPtr context, const char *name, unsigned long long &value)
{
    return virXPathULongLong(strprintf("string(./pages/@%s)", name).c_str(), context, &value) == 0;
}

Result<std::optional<PendingStatus>> PendingStatus::parse(xmlXPathContextPtr context)
{
    if (virXPathBoolean("boolean(./pages)", context) <= 0)
        return std::optional<PendingStatus>();
    PendingStatus status;
    unsigned long long helper = 0, faults = 0, begin = 0, size = 0, modified = 0, first = 0, head = 0, pages = 0;
    const bool known = readField(context, "helper", helper) && readField(context, "helperStart", status.helperStart) &&
                       readField(context, "faults", faults) && readField(context, "device", status.device) &&
                       readField(context, "inode", status.inode) && readField(context, "begin", begin) &&
                       readField(context, "size", size) && readField(context, "modified", modified) &&
                       readField(context, "firstBatch", first) && readField(context, "headSize", head) &&
                       readField(context, "batchPages", pages);
    if (!known || helper > INT_MAX || faults > INT_MAX || first > UINT32_MAX || head > UINT32_MAX || pages > UINT32_MAX)
        return makeError(ErrorCode::BadFormat, "%s", tr("a status file does not tell where a guest's pages come from"));
    status.helper = static_cast<pid_t>(helper);
    status.faultsInGuest = static_cast<int>(faults);
    status.source.begin = begin;
    status.source.size = size;
    status.source.modifiedNs = modified;
    status.source.index = {static_cast<uint32_t>(first), static_cast<uint32_t>(head), static_cast<uint32_t>(pages)};
    status.source.bypassCache = virXPathBoolean("./pages/@bypassCache = 'yes'", context) > 0;
    const conf::Text image(virXPathString("string(./pages/@image)", context));
    status.image = image ? image.get() : "";
    return std::optional(std::move(status));
}

void PendingStatus::format(virBuffer *out) const
{
    virBufferAsprintf(out, "<pages helper='%d' helperStart='%llu' faults='%d' device='%llu' inode='%llu'",
                      static_cast<int>(helper), helperStart, faultsInGuest, device, inode);
    virBufferAsprintf(out, " begin='%llu' size='%llu' modified='%llu' firstBatch='%u' headSize='%u' batchPages='%u'",
                      static_cast<unsigned long long>(source.begin), static_cast<unsigned long long>(source.size),
                      static_cast<unsigned long long>(source.modifiedNs), source.index.firstBatch,
                      source.index.headSize, source.index.batchPages);
    if (source.bypassCache)
        virBufferAddLit(out, " bypassCache='yes'");
    virBufferEscapeString(out, " image='%s'", image.c_str());
    virBufferAddLit(out, "/>\n");
}

/// Whether the process's mapping of the RAM file is registered for missing pages.
static Result<bool> waitsForPages(pid_t pid, int ramFd)
{
    struct stat ram{};
    if (::fstat(ramFd, &ram) < 0)
        return systemError(errno, "fstat");
    const std::string path = strprintf("/proc/%d/smaps", static_cast<int>(pid));
    std::ifstream maps(path);
    if (!maps)
        return systemError(errno, tr("cannot open '%s'"), path.c_str());
    bool inRam = false;
    for (std::string line; std::getline(maps, line);) {
        uint64_t inode = 0;
        unsigned major = 0, minor = 0;
        if (sscanf(line.c_str(), "%*x-%*x %*s %*x %x:%x %" SCNu64, &major, &minor, &inode) == 3)
            inRam = inode == ram.st_ino && makedev(major, minor) == ram.st_dev;
        else if (inRam && line.starts_with("VmFlags:") && (line + " ").find(" um ") != std::string::npos)
            return true;
    }
    return false;
}

/// A file that another process has open.
static UniqueFd openFileOf(pid_t pid, unsigned long long device, unsigned long long inode)
{
    const std::string folder = strprintf("/proc/%d/fd", static_cast<int>(pid));
    const std::unique_ptr<DIR, conf::FreeWith<::closedir>> entries(::opendir(folder.c_str()));
    struct stat status{};
    while (const dirent *entry = entries ? ::readdir(entries.get()) : nullptr) {
        const std::string path = folder + "/" + entry->d_name;
        if (::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) && status.st_dev == device && status.st_ino == inode)
            return UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    }
    return {};
}

static Result<UniqueFd> takeFd(pid_t pid, int number)
{
    const UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    UniqueFd fd(process ? static_cast<int>(::syscall(SYS_pidfd_getfd, process.get(), number, 0)) : -1);
    if (!fd)
        return systemError(errno, tr("cannot take the userfaultfd of process %d"), static_cast<int>(pid));
    if (!isUserfaultfd(fd.get()))
        return makeError(ErrorCode::OperationFailed, tr("file descriptor %d of process %d is no userfaultfd"), number,
                         static_cast<int>(pid));
    return fd;
}

static Result<UniqueFd> openImage(const PendingStatus &status)
{
    UniqueFd image(::open(status.image.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    struct stat now{};
    if (!image || ::fstat(image.get(), &now) < 0)
        return systemError(errno, tr("cannot open '%s'"), status.image.c_str());
    if (now.st_dev != status.device || now.st_ino != status.inode)
        return makeError(ErrorCode::OperationFailed, tr("'%s' is another file now"), status.image.c_str());
    return image;
}

Result<PageSupply> PendingStatus::supply() const
{
    PageSupply out;
    out.image = TRY(openImage(*this));
    out.faults = TRY(takeFd(static_cast<pid_t>(source.guestPid), faultsInGuest));
    out.faultsInGuest = faultsInGuest;
    out.source = source;
    return out;
}

Result<std::shared_ptr<PendingMemory>> takeUpPages(std::shared_ptr<EventLoop> loop, const std::string &helperProgram,
                                                   PendingStatus status, int ramFd)
{
    UniqueFd image;   // held until it is opened again: it may have no name any more
    if (const auto helper = Process::find(status.helper, status.helperStart); status.helper > 1 && helper) {
        image = openFileOf(status.helper, status.device, status.inode);
        (void)helper->signal(SIGKILL).has_value();
        if (!helper->waitGone(std::chrono::seconds(10)))
            log(LogLevel::Warning, "process %d, a helper, does not end", static_cast<int>(status.helper));
        ::waitpid(status.helper, nullptr, WNOHANG);
    }
    if (!TRY(waitsForPages(static_cast<pid_t>(status.source.guestPid), ramFd)))
        return std::shared_ptr<PendingMemory>();
    if (image)
        status.image = strprintf("/proc/self/fd/%d", image.get());
    auto pending = PendingMemory::lost(std::move(loop), helperProgram, std::move(status));
    // What cannot be had now is tried again when the guest is resumed.
    (void)pending->goOn(ramFd).has_value();
    return pending;
}

} // namespace godwit::hypervisor::machine
