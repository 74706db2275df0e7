// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/job.h"
#include "driver/api.h"
#include "driver/connection.h"
#include "driver/entry.h"
#include "driver/unhurried.h"
#include "migration/image.h"

namespace godwit::driver {

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::tr;
using domain::Domain;
using domain::Host;
using domain::Job;

static constexpr unsigned stateFlags = VIR_DOMAIN_SAVE_RUNNING | VIR_DOMAIN_SAVE_PAUSED;

/// What RUNNING or PAUSED among `flags` ask for.
static Result<std::optional<bool>> wantedState(unsigned flags)
{
    TRY(checkFlags(flags, stateFlags));
    if (flags == stateFlags)
        return makeError(ErrorCode::InvalidArgument, "%s", tr("running and paused flags are mutually exclusive"));
    if (flags == 0)
        return std::optional<bool>();
    return std::optional<bool>(flags == VIR_DOMAIN_SAVE_RUNNING);
}

/// The flags of a save.
static Result<migration::SaveOptions> saveOptions(const char *xml, unsigned flags)
{
    migration::SaveOptions options;
    options.xml = xml ? xml : "";
    options.bypassCache = flags & VIR_DOMAIN_SAVE_BYPASS_CACHE;
    options.running = TRY(wantedState(flags & ~unsigned{VIR_DOMAIN_SAVE_BYPASS_CACHE}));
    return options;
}

static Result<void> saveFlags(virDomainPtr handle, const char *to, const char *xml, unsigned flags)
{
    const migration::SaveOptions options = TRY(saveOptions(xml, flags));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainSaveFlagsEnsureACL>(handle, domain));
    TRY(domain.requireActive());
    return migration::saveDomain(domain, to, options);
}

static Result<void> save(virDomainPtr handle, const char *to)
{
    return saveFlags(handle, to, nullptr, 0);
}

/// virDomainSaveParams and RestoreParams, as far as we take them.
static Result<void> readImageParameters(virTypedParameterPtr parameters, int count, const char **file, const char **xml)
{
    TRY(conf::check(virTypedParamsValidate(parameters, count, VIR_DOMAIN_SAVE_PARAM_FILE, VIR_TYPED_PARAM_STRING,
                                           VIR_DOMAIN_SAVE_PARAM_DXML, VIR_TYPED_PARAM_STRING, nullptr)));
    TRY(conf::check(virTypedParamsGetString(parameters, count, VIR_DOMAIN_SAVE_PARAM_FILE, file)));
    TRY(conf::check(virTypedParamsGetString(parameters, count, VIR_DOMAIN_SAVE_PARAM_DXML, xml)));
    return {};
}

static Result<void> managedSave(virDomainPtr handle, unsigned flags);

static Result<void> saveParams(virDomainPtr handle, virTypedParameterPtr parameters, int count, unsigned flags)
{
    const char *file = nullptr;
    const char *xml = nullptr;
    TRY(readImageParameters(parameters, count, &file, &xml));
    if (!file && xml)
        return makeError(ErrorCode::InvalidArgument, "%s", tr("cannot replace the XML of a managed save"));
    if (!file)
        return managedSave(handle, flags);
    return saveFlags(handle, file, xml, flags);
}

static Result<void> restoreFlags(virConnectPtr connection, const char *from, const char *xml, unsigned flags)
{
    const bool bypassCache = flags & VIR_DOMAIN_SAVE_BYPASS_CACHE;
    const std::optional<bool> running = TRY(wantedState(flags & ~unsigned{VIR_DOMAIN_SAVE_BYPASS_CACHE}));
    Host &host = hostOf(connection);
    migration::Image image = TRY(migration::openImage(host, from, xml));
    TRY(conf::check(virDomainRestoreFlagsEnsureACL(connection, image.def.get())));
    TRY(migration::restoreDomain(host, std::move(image), {running, bypassCache}));
    return {};
}

static Result<void> restore(virConnectPtr connection, const char *from)
{
    return restoreFlags(connection, from, nullptr, 0);
}

static Result<void> restoreParams(virConnectPtr connection, virTypedParameterPtr parameters, int count, unsigned flags)
{
    const char *file = nullptr;
    const char *xml = nullptr;
    TRY(readImageParameters(parameters, count, &file, &xml));
    if (!file)
        return makeError(ErrorCode::InvalidArgument, "%s", tr("the path of an image is missing"));
    return restoreFlags(connection, file, xml, flags);
}

static Result<conf::Text> saveImageGetXml(virConnectPtr connection, const char *file, unsigned flags)
{
    TRY(checkFlags(flags, VIR_DOMAIN_SAVE_IMAGE_XML_SECURE));
    Host &host = hostOf(connection);
    migration::Image image = TRY(migration::openImage(host, file, nullptr));
    TRY(conf::check(virDomainSaveImageGetXMLDescEnsureACL(connection, image.def.get())));
    return host.format(image.def.get(), flags & VIR_DOMAIN_SAVE_IMAGE_XML_SECURE ? VIR_DOMAIN_DEF_FORMAT_SECURE : 0);
}

/// The XML of an image, and its running state, replaced.
static Result<void> redefineImage(Host &host, const std::string &path, const char *xml, std::optional<bool> running)
{
    migration::Image image = TRY(migration::openImage(host, path, xml));
    conf::Text text = TRY(host.format(image.def.get(), VIR_DOMAIN_DEF_FORMAT_SECURE | VIR_DOMAIN_DEF_FORMAT_MIGRATABLE));
    return migration::rewriteImage(path, text.get(), running.value_or(image.file.wasRunning()));
}

static Result<void> saveImageDefineXml(virConnectPtr connection, const char *file, const char *xml, unsigned flags)
{
    const std::optional<bool> running = TRY(wantedState(flags));
    Host &host = hostOf(connection);
    migration::Image image = TRY(migration::openImage(host, file, xml));
    TRY(conf::check(virDomainSaveImageDefineXMLEnsureACL(connection, image.def.get())));
    return redefineImage(host, file, xml, running);
}

static Result<void> managedSave(virDomainPtr handle, unsigned flags)
{
    const migration::SaveOptions options = TRY(saveOptions(nullptr, flags));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainManagedSaveEnsureACL>(handle, domain));
    return migration::managedSave(domain, options);
}

static Result<int> hasManagedSaveImage(virDomainPtr handle, unsigned flags)
{
    TRY(checkFlags(flags, 0));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainHasManagedSaveImageEnsureACL>(handle, domain));
    return domain.object()->hasManagedSave ? 1 : 0;
}

static Result<void> managedSaveRemove(virDomainPtr handle, unsigned flags)
{
    TRY(checkFlags(flags, 0));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainManagedSaveRemoveEnsureACL>(handle, domain));
    return migration::managedSaveRemove(domain);
}

static Result<std::string> managedSavePath(const Domain &domain)
{
    if (!domain.object()->hasManagedSave)
        return makeError(ErrorCode::OperationInvalid, tr("domain '%s' does not have managed save image"),
                         domain.def()->name);
    return domain.host().savePath(domain.def());
}

static Result<conf::Text> managedSaveGetXml(virDomainPtr handle, unsigned flags)
{
    TRY(checkFlags(flags, VIR_DOMAIN_SAVE_IMAGE_XML_SECURE));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainManagedSaveGetXMLDescEnsureACL>(handle, domain, flags));
    const std::string path = TRY(managedSavePath(domain));
    migration::Image image = TRY(migration::openImage(domain.host(), path, nullptr));
    return domain.host().format(image.def.get(),
                                flags & VIR_DOMAIN_SAVE_IMAGE_XML_SECURE ? VIR_DOMAIN_DEF_FORMAT_SECURE : 0);
}

static Result<void> managedSaveDefineXml(virDomainPtr handle, const char *xml, unsigned flags)
{
    const std::optional<bool> running = TRY(wantedState(flags));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainManagedSaveDefineXMLEnsureACL>(handle, domain));
    auto job = TRY(Job::begin(domain, VIR_JOB_MODIFY));
    const std::string path = TRY(managedSavePath(domain));
    return domain.unlocked([&] { return redefineImage(domain.host(), path, xml, running); });
}

void fillImageApi(virHypervisorDriver &table)
{
    table.domainSave = entry<unhurried<save>>;
    table.domainSaveFlags = entry<unhurried<saveFlags>>;
    table.domainSaveParams = entry<unhurried<saveParams>>;
    table.domainRestore = entry<restore>;
    table.domainRestoreFlags = entry<restoreFlags>;
    table.domainRestoreParams = entry<restoreParams>;
    table.domainSaveImageGetXMLDesc = entry<saveImageGetXml>;
    table.domainSaveImageDefineXML = entry<saveImageDefineXml>;
    table.domainManagedSave = entry<unhurried<managedSave>>;
    table.domainHasManagedSaveImage = entry<hasManagedSaveImage>;
    table.domainManagedSaveRemove = entry<managedSaveRemove>;
    table.domainManagedSaveGetXMLDesc = entry<managedSaveGetXml>;
    table.domainManagedSaveDefineXML = entry<managedSaveDefineXml>;
}

} // namespace godwit::driver
