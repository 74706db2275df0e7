// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/api.h"
#include "driver/connection.h"
#include "driver/entry.h"

namespace godwit::driver {

// Which domains there are, how a client finds one, and how it hears of them.

using base::Result;
using domain::Domain;

static Result<int> listDomains(virConnectPtr connection, int *ids, int maxIds)
{
    TRY(access<virConnectListDomainsEnsureACL>(connection));
    return number(virDomainObjListGetActiveIDs(hostOf(connection).domains(), ids, maxIds,
                                               virConnectListDomainsCheckACL, connection));
}

static Result<int> numOfDomains(virConnectPtr connection)
{
    TRY(access<virConnectNumOfDomainsEnsureACL>(connection));
    return number(virDomainObjListNumOfDomains(hostOf(connection).domains(), true, virConnectNumOfDomainsCheckACL,
                                               connection));
}

static Result<int> listDefinedDomains(virConnectPtr connection, char **const names, int maxNames)
{
    TRY(access<virConnectListDefinedDomainsEnsureACL>(connection));
    if (maxNames > 0)
        std::fill_n(names, maxNames, nullptr);
    return number(virDomainObjListGetInactiveNames(hostOf(connection).domains(), names, maxNames,
                                                   virConnectListDefinedDomainsCheckACL, connection));
}

static Result<int> numOfDefinedDomains(virConnectPtr connection)
{
    TRY(access<virConnectNumOfDefinedDomainsEnsureACL>(connection));
    return number(virDomainObjListNumOfDomains(hostOf(connection).domains(), false,
                                               virConnectNumOfDefinedDomainsCheckACL, connection));
}

static Result<int> listAllDomains(virConnectPtr connection, virDomainPtr **domains, unsigned flags)
{
    TRY(checkFlags(flags, VIR_CONNECT_LIST_DOMAINS_FILTERS_ALL));
    TRY(access<virConnectListAllDomainsEnsureACL>(connection));
    return number(virDomainObjListExport(hostOf(connection).domains(), connection, domains,
                                         virConnectListAllDomainsCheckACL, flags));
}

template <auto Check>
static Result<virDomainPtr> handleOf(virConnectPtr connection, const Domain &domain)
{
    const virDomainDef *def = domain.def();
    TRY(conf::check(Check(connection, domain.def())));
    return conf::check(virGetDomain(connection, def->name, def->uuid, def->id));
}

static Result<virDomainPtr> lookupById(virConnectPtr connection, int id)
{
    return handleOf<virDomainLookupByIDEnsureACL>(connection, TRY(Domain::byId(hostOf(connection), id)));
}

static Result<virDomainPtr> lookupByUuid(virConnectPtr connection, const unsigned char *uuid)
{
    return handleOf<virDomainLookupByUUIDEnsureACL>(connection, TRY(Domain::byUuid(hostOf(connection), uuid)));
}

static Result<virDomainPtr> lookupByName(virConnectPtr connection, const char *name)
{
    return handleOf<virDomainLookupByNameEnsureACL>(connection, TRY(Domain::byName(hostOf(connection), name)));
}

static Result<void> eventRegister(virConnectPtr connection, virConnectDomainEventCallback callback, void *opaque,
                                  virFreeCallback release)
{
    TRY(access<virConnectDomainEventRegisterEnsureACL>(connection));
    return conf::check(
        virDomainEventStateRegister(connection, hostOf(connection).events(), callback, opaque, release));
}

static Result<void> eventDeregister(virConnectPtr connection, virConnectDomainEventCallback callback)
{
    TRY(access<virConnectDomainEventDeregisterEnsureACL>(connection));
    return conf::check(virDomainEventStateDeregister(connection, hostOf(connection).events(), callback));
}

static Result<int> eventRegisterAny(virConnectPtr connection, virDomainPtr domain, int event,
                                    virConnectDomainEventGenericCallback callback, void *opaque,
                                    virFreeCallback release)
{
    TRY(access<virConnectDomainEventRegisterAnyEnsureACL>(connection));
    int id = -1;
    TRY(conf::check(virDomainEventStateRegisterID(connection, hostOf(connection).events(), domain, event, callback,
                                                  opaque, release, &id)));
    return id;
}

static Result<void> eventDeregisterAny(virConnectPtr connection, int id)
{
    TRY(access<virConnectDomainEventDeregisterAnyEnsureACL>(connection));
    return conf::check(virObjectEventStateDeregisterID(connection, hostOf(connection).events(), id, true));
}

void fillListApi(virHypervisorDriver &table)
{
    table.connectListDomains = entry<listDomains>;
    table.connectNumOfDomains = entry<numOfDomains>;
    table.connectListDefinedDomains = entry<listDefinedDomains>;
    table.connectNumOfDefinedDomains = entry<numOfDefinedDomains>;
    table.connectListAllDomains = entry<listAllDomains>;
    table.domainLookupByID = entry<lookupById>;
    table.domainLookupByUUID = entry<lookupByUuid>;
    table.domainLookupByName = entry<lookupByName>;
    table.connectDomainEventRegister = entry<eventRegister>;
    table.connectDomainEventDeregister = entry<eventDeregister>;
    table.connectDomainEventRegisterAny = entry<eventRegisterAny>;
    table.connectDomainEventDeregisterAny = entry<eventDeregisterAny>;
}

} // namespace godwit::driver
