// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/job.h"
#include "domain/lifecycle.h"
#include "driver/api.h"
#include "driver/connection.h"
#include "driver/entry.h"
#include "driver/unhurried.h"

namespace godwit::driver {

// A guest's memory for a debugger, where its hypervisor writes that.

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::tr;
using domain::AsyncJob;
using domain::Domain;

/// A job is held. Unless it is to be dumped live the guest stands still meanwhile.
static Result<void> dumpGuest(Domain &domain, const std::string &path, bool live)
{
    auto guest = TRY(domain.guest());
    const bool stop = !live && domain.state() == VIR_DOMAIN_RUNNING;
    return domain.unlocked([&]() -> Result<void> {
        if (stop)
            TRY(guest->pause(hypervisor::StopCause::User));
        Result<void> dumped = guest->dumpCore(path);
        Result<void> resumed = stop ? guest->unpause() : Result<void>();
        return dumped ? resumed : dumped;
    });
}

template <auto Access>
static Result<void> coreDump(virDomainPtr handle, const char *path, unsigned format, unsigned flags)
{
    TRY(checkFlags(flags, VIR_DUMP_LIVE | VIR_DUMP_CRASH));
    if (format != VIR_DOMAIN_CORE_DUMP_FORMAT_RAW)
        return makeError(ErrorCode::Unsupported, tr("core dumps have one format only, not number %u"), format);
    Domain domain = TRY(findDomain(handle));
    TRY(access<Access>(handle, domain));
    auto job = TRY(AsyncJob::begin(domain, VIR_ASYNC_JOB_DUMP, VIR_DOMAIN_JOB_OPERATION_DUMP, flags));
    TRY(dumpGuest(domain, path, flags & VIR_DUMP_LIVE));
    TRY(domain.requireActive());
    if (!(flags & VIR_DUMP_CRASH))
        return {};
    return domain::destroyDomain(domain, false, VIR_DOMAIN_SHUTOFF_CRASHED, VIR_DOMAIN_EVENT_STOPPED_CRASHED);
}

static Result<void> coreDumpRaw(virDomainPtr handle, const char *path, unsigned flags)
{
    return coreDump<virDomainCoreDumpEnsureACL>(handle, path, VIR_DOMAIN_CORE_DUMP_FORMAT_RAW, flags);
}

void fillDumpApi(virHypervisorDriver &table)
{
    table.domainCoreDump = entry<unhurried<coreDumpRaw>>;
    table.domainCoreDumpWithFormat = entry<unhurried<coreDump<virDomainCoreDumpWithFormatEnsureACL>>>;
}

} // namespace godwit::driver
