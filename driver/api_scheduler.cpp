// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/job.h"
#include "driver/api.h"
#include "driver/connection.h"
#include "driver/entry.h"

#include <algorithm>

namespace godwit::driver {

// How a hypervisor's scheduler shares CPUs among guests.

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::tr;
using domain::Domain;
using domain::Job;
using hypervisor::SchedulerParameters;

static constexpr int parameterCount = 2;

/// Weight and cap are what the credit schedulers know; others have nothing to set here.
static bool isCredit(const std::string &scheduler)
{
    return scheduler == "credit" || scheduler == "credit2";
}

static Result<conf::Text> getSchedulerType(virDomainPtr handle, int *count)
{
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainGetSchedulerTypeEnsureACL>(handle, domain));
    const std::string type = TRY(domain.unlocked([&] { return domain.host().hypervisor().schedulerType(); }));
    if (count)
        *count = isCredit(type) ? parameterCount : 0;
    return conf::Text(g_strdup(type.c_str()));
}

static Result<void> getSchedulerParametersFlags(virDomainPtr handle, virTypedParameterPtr params, int *count,
                                                unsigned flags)
{
    TRY(checkFlags(flags, impactFlags | VIR_TYPED_PARAM_STRING_OKAY));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainGetSchedulerParametersFlagsEnsureACL>(handle, domain));
    if (flags & VIR_DOMAIN_AFFECT_CONFIG)
        return makeError(ErrorCode::Unsupported, "%s",
                         tr("a persistent definition has no scheduler parameters, only a running guest"));
    auto job = TRY(Job::begin(domain, VIR_JOB_QUERY));
    auto guest = TRY(domain.guest());
    const SchedulerParameters all = TRY(domain.unlocked([&] { return guest->schedulerParameters(); }));
    const std::pair<const char *, unsigned> named[] = {
        {VIR_DOMAIN_SCHEDULER_WEIGHT, all.weight.value_or(0)},
        {VIR_DOMAIN_SCHEDULER_CAP, all.cap.value_or(0)},
    };
    *count = std::min(*count, parameterCount);
    for (int i = 0; i < *count; i++)
        TRY(conf::check(
            virTypedParameterAssign(&params[i], named[i].first, VIR_TYPED_PARAM_UINT, named[i].second)));
    return {};
}

static Result<void> getSchedulerParameters(virDomainPtr handle, virTypedParameterPtr params, int *count)
{
    return getSchedulerParametersFlags(handle, params, count, VIR_DOMAIN_AFFECT_LIVE);
}

static Result<void> setSchedulerParametersFlags(virDomainPtr handle, virTypedParameterPtr params, int count,
                                                unsigned flags)
{
    TRY(checkFlags(flags, impactFlags));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainSetSchedulerParametersFlagsEnsureACL>(handle, domain, flags));
    if (flags & VIR_DOMAIN_AFFECT_CONFIG)
        return makeError(ErrorCode::Unsupported, "%s",
                         tr("a persistent definition has no scheduler parameters, only a running guest"));
    TRY(conf::check(virTypedParamsValidate(params, count, VIR_DOMAIN_SCHEDULER_WEIGHT, VIR_TYPED_PARAM_UINT,
                                           VIR_DOMAIN_SCHEDULER_CAP, VIR_TYPED_PARAM_UINT, nullptr)));
    SchedulerParameters wanted;
    for (int i = 0; i < count; i++)
        (STREQ(params[i].field, VIR_DOMAIN_SCHEDULER_WEIGHT) ? wanted.weight : wanted.cap) = params[i].value.ui;
    auto job = TRY(Job::begin(domain, VIR_JOB_MODIFY));
    auto guest = TRY(domain.guest());
    return domain.unlocked([&] { return guest->setSchedulerParameters(wanted); });
}

static Result<void> setSchedulerParameters(virDomainPtr handle, virTypedParameterPtr params, int count)
{
    return setSchedulerParametersFlags(handle, params, count, VIR_DOMAIN_AFFECT_LIVE);
}

void fillSchedulerApi(virHypervisorDriver &table)
{
    table.domainGetSchedulerType = entry<getSchedulerType>;
    table.domainGetSchedulerParameters = entry<getSchedulerParameters>;
    table.domainGetSchedulerParametersFlags = entry<getSchedulerParametersFlags>;
    table.domainSetSchedulerParameters = entry<setSchedulerParameters>;
    table.domainSetSchedulerParametersFlags = entry<setSchedulerParametersFlags>;
}

} // namespace godwit::driver
