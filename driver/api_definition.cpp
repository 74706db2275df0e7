// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/rollback.h"
#include "domain/job.h"
#include "domain/lifecycle.h"
#include "driver/api.h"
#include "driver/config_change.h"
#include "driver/connection.h"
#include "driver/entry.h"
#include "migration/image.h"

namespace godwit::driver {

// A domain's definition: made, shown, changed, renamed, taken away.

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::Rollback;
using base::systemError;
using base::tr;
using domain::Domain;
using domain::Host;
using domain::Job;

static virDomainDef *persistentDef(const Domain &domain)
{
    return domain.object()->newDef ? domain.object()->newDef : domain.def();
}

static Result<void> writeConfig(const Domain &domain)
{
    const Host &host = domain.host();
    return conf::check(virDomainDefSave(persistentDef(domain), domain.host().xmlOption(),
                                        host.settings().configDir.c_str()));
}

/// A definition that could not be written gives way to the one before it, if there was any.
static void revertDefinition(Domain &domain, conf::DomainDef previous)
{
    if (!previous && !domain.active()) {
        domain.remove();
        return;
    }
    virDomainDef *given = previous.release();
    virDomainObjAssignDef(domain.object(), &given, false, nullptr);
}

static Result<virDomainPtr> defineXmlFlags(virConnectPtr connection, const char *xml, unsigned flags)
{
    TRY(checkFlags(flags, VIR_DOMAIN_DEFINE_VALIDATE));
    unsigned parseFlags = VIR_DOMAIN_DEF_PARSE_INACTIVE | VIR_DOMAIN_DEF_PARSE_ABI_UPDATE;
    if (flags & VIR_DOMAIN_DEFINE_VALIDATE)
        parseFlags |= VIR_DOMAIN_DEF_PARSE_VALIDATE_SCHEMA;
    auto def = TRY(hostOf(connection).parse(xml, parseFlags));
    TRY(conf::check(virXMLCheckIllegalChars("name", def->name, "\n")));
    TRY(conf::check(virDomainDefineXMLFlagsEnsureACL(connection, def.get())));
    conf::DomainDef previous;
    Domain domain = TRY(domain::addDomain(hostOf(connection), std::move(def), 0, &previous));
    const bool known = previous != nullptr;
    if (auto written = writeConfig(domain); !written) {
        revertDefinition(domain, std::move(previous));
        return std::move(written).error();
    }
    domain.object()->persistent = 1;
    domain.queueLifecycle(VIR_DOMAIN_EVENT_DEFINED,
                          known ? VIR_DOMAIN_EVENT_DEFINED_UPDATED : VIR_DOMAIN_EVENT_DEFINED_ADDED);
    return conf::check(virGetDomain(connection, domain.def()->name, domain.def()->uuid, domain.def()->id));
}

static Result<virDomainPtr> defineXml(virConnectPtr connection, const char *xml)
{
    return defineXmlFlags(connection, xml, 0);
}

static bool hasManagedSave(const Domain &domain)
{
    return ::access(domain.host().savePath(domain.def()).c_str(), F_OK) == 0;
}

// Firmware variables, TPM state, snapshots and checkpoints: our domains have none, so
// whatever is wished for them is done already.
static constexpr unsigned undefineFlagsKnown =
    VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA | VIR_DOMAIN_UNDEFINE_NVRAM |
    VIR_DOMAIN_UNDEFINE_KEEP_NVRAM | VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA | VIR_DOMAIN_UNDEFINE_TPM |
    VIR_DOMAIN_UNDEFINE_KEEP_TPM;

static Result<void> undefineFlags(virDomainPtr handle, unsigned flags)
{
    TRY(checkFlags(flags, undefineFlagsKnown));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainUndefineFlagsEnsureACL>(handle, domain));
    TRY(requirePersistent(domain));
    if ((flags & VIR_DOMAIN_UNDEFINE_MANAGED_SAVE) && hasManagedSave(domain))
        TRY(migration::managedSaveRemove(domain));
    auto job = TRY(Job::begin(domain, VIR_JOB_MODIFY));
    TRY(requirePersistent(domain));
    if (hasManagedSave(domain))
        return makeError(ErrorCode::OperationInvalid,
                         tr("domain '%s' has a managed save image: remove it, or undefine with it"),
                         domain.def()->name);
    const conf::Settings &settings = domain.host().settings();
    TRY(conf::check(virDomainDeleteConfig(settings.configDir.c_str(), settings.autostartDir.c_str(),
                                          domain.object())));
    domain.queueLifecycle(VIR_DOMAIN_EVENT_UNDEFINED, VIR_DOMAIN_EVENT_UNDEFINED_REMOVED);
    // A running domain goes on as a transient one, and leaves the list when it ends.
    domain.object()->persistent = 0;
    if (!domain.active())
        domain.remove();
    return {};
}

static Result<void> undefine(virDomainPtr handle)
{
    return undefineFlags(handle, 0);
}

using CpuDef = std::unique_ptr<virCPUDef, conf::FreeWith<virCPUDefFree>>;

/// What the CPU of `def` comes to on this host, for a definition that says "like the host".
/// Null if it has none. The domain is unlocked meanwhile.
static Result<CpuDef> hostCpuFor(Domain &domain, const virDomainDef *def)
{
    if (!def->cpu)
        return CpuDef();
    CpuDef cpu(virCPUDefCopy(def->cpu));
    const virArch arch = def->os.arch;
    const char *virtType = virDomainVirtTypeToString(static_cast<virDomainVirtType>(def->virtType));
    conf::Text emulator(g_strdup(def->emulator)), machine(g_strdup(def->os.machine));
    auto capabilities = conf::ObjectRef<virDomainCaps>::adopt(TRY(domain.unlocked([&] {
        return domain.host().hypervisor().domainCapabilities(emulator.get(), virArchToString(arch), machine.get(),
                                                             virtType);
    })));
    if (capabilities->cpu.hostModel)
        TRY(conf::check(virCPUUpdate(arch, cpu.get(), capabilities->cpu.hostModel)));
    return cpu;
}

static Result<conf::Text> getXmlDesc(virDomainPtr handle, unsigned flags)
{
    TRY(checkFlags(flags, VIR_DOMAIN_XML_COMMON_FLAGS | VIR_DOMAIN_XML_UPDATE_CPU));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainGetXMLDescEnsureACL>(handle, domain, flags));
    auto wanted = [&] { return flags & VIR_DOMAIN_XML_INACTIVE ? persistentDef(domain) : domain.def(); };
    CpuDef cpu;
    if (flags & VIR_DOMAIN_XML_UPDATE_CPU)
        cpu = TRY(hostCpuFor(domain, wanted()));
    virDomainDef *def = wanted();
    virDomainDef shown = *def;   // borrows everything from `def`
    if (cpu)
        shown.cpu = cpu.get();
    return domain.host().format(&shown, virDomainDefFormatConvertXMLFlags(flags));
}

static Result<conf::Text> xmlFromNative(virConnectPtr connection, const char *format, const char *native, unsigned flags)
{
    TRY(checkFlags(flags, 0));
    TRY(access<virConnectDomainXMLFromNativeEnsureACL>(connection));
    Host &host = hostOf(connection);
    auto def = TRY(host.hypervisor().fromNative(format, native, host.xmlOption()));
    return host.format(def.get(), VIR_DOMAIN_DEF_FORMAT_INACTIVE);
}

static Result<conf::Text> xmlToNative(virConnectPtr connection, const char *format, const char *xml, unsigned flags)
{
    TRY(checkFlags(flags, 0));
    TRY(access<virConnectDomainXMLToNativeEnsureACL>(connection));
    Host &host = hostOf(connection);
    auto def = TRY(host.parse(xml, VIR_DOMAIN_DEF_PARSE_INACTIVE));
    return host.hypervisor().toNative(format, def.get(), connection);
}

static Result<void> getAutostart(virDomainPtr handle, int *autostart)
{
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainGetAutostartEnsureACL>(handle, domain));
    *autostart = domain.object()->autostart;
    return {};
}

static Result<std::string> configFile(const std::string &dir, const char *name)
{
    return std::string(TRY(text(virDomainConfigFile(dir.c_str(), name))).get());
}

/// The link that starts the domain `name` by itself.
static Result<void> linkAutostart(const Host &host, const char *name)
{
    const std::string target = TRY(configFile(host.settings().configDir, name));
    const std::string link = TRY(configFile(host.settings().autostartDir, name));
    if (g_mkdir_with_parents(host.settings().autostartDir.c_str(), 0700) < 0)
        return systemError(errno, tr("cannot create directory '%s'"), host.settings().autostartDir.c_str());
    if (::symlink(target.c_str(), link.c_str()) < 0 && errno != EEXIST)
        return systemError(errno, tr("cannot create link '%s'"), link.c_str());
    return {};
}

static Result<void> unlinkAutostart(const Host &host, const char *name)
{
    const std::string link = TRY(configFile(host.settings().autostartDir, name));
    if (::unlink(link.c_str()) < 0 && errno != ENOENT)
        return systemError(errno, tr("cannot remove link '%s'"), link.c_str());
    return {};
}

static Result<void> setAutostart(virDomainPtr handle, int autostart)
{
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainSetAutostartEnsureACL>(handle, domain));
    auto job = TRY(Job::begin(domain, VIR_JOB_MODIFY));
    TRY(requirePersistent(domain));
    if (autostart)
        TRY(linkAutostart(domain.host(), domain.def()->name));
    else
        TRY(unlinkAutostart(domain.host(), domain.def()->name));
    domain.object()->autostart = autostart != 0;
    return {};
}

static Result<void> setMetadata(virDomainPtr handle, int type, const char *metadata, const char *key, const char *uri,
                                unsigned flags)
{
    TRY(checkFlags(flags, VIR_DOMAIN_AFFECT_LIVE | VIR_DOMAIN_AFFECT_CONFIG));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainSetMetadataEnsureACL>(handle, domain, flags));
    auto job = TRY(Job::begin(domain, VIR_JOB_MODIFY));
    Host &host = domain.host();
    TRY(conf::check(virDomainObjSetMetadata(domain.object(), type, metadata, key, uri, host.xmlOption(),
                                            host.settings().stateDir.c_str(), host.settings().configDir.c_str(),
                                            flags)));
    host.queueEvent(virDomainEventMetadataChangeNewFromObj(domain.object(), type, uri));
    return {};
}

static Result<conf::Text> getMetadata(virDomainPtr handle, int type, const char *uri, unsigned flags)
{
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainGetMetadataEnsureACL>(handle, domain));
    return text(virDomainObjGetMetadata(domain.object(), type, uri, flags));
}

static Result<int> isActive(virDomainPtr handle)
{
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainIsActiveEnsureACL>(handle, domain));
    return domain.active();
}

static Result<int> isPersistent(virDomainPtr handle)
{
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainIsPersistentEnsureACL>(handle, domain));
    return domain.persistent();
}

static Result<int> isUpdated(virDomainPtr handle)
{
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainIsUpdatedEnsureACL>(handle, domain));
    return domain.object()->updated;
}

static Result<conf::Text> getOsType(virDomainPtr handle)
{
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainGetOSTypeEnsureACL>(handle, domain));
    return conf::Text(g_strdup(virDomainOSTypeToString(static_cast<virDomainOSType>(domain.def()->os.type))));
}

/// Give an inactive domain `name`: its new file is there before its old one goes.
static Result<void> rewriteNamed(Domain &domain, const char *name)
{
    if (std::strchr(name, '/') || std::strchr(name, '\n'))
        return makeError(ErrorCode::InvalidArgument, tr("a domain's name cannot contain '/' or a line break: '%s'"),
                         name);
    const Host &host = domain.host();
    const std::string oldFile = TRY(configFile(host.settings().configDir, domain.def()->name));
    const std::string newFile = TRY(configFile(host.settings().configDir, name));
    conf::Text oldName(domain.def()->name);
    domain.def()->name = g_strdup(name);
    Rollback rollback;
    rollback.onFailure([&] {
        g_free(domain.def()->name);
        domain.def()->name = oldName.release();
        ::unlink(newFile.c_str());
    });
    TRY(writeConfig(domain));
    if (domain.object()->autostart) {
        TRY(linkAutostart(host, name));
        (void)unlinkAutostart(host, oldName.get()).has_value();
    }
    rollback.commit();
    ::unlink(oldFile.c_str());

    domain.host().queueEvent(virDomainEventLifecycleNew(domain.def()->id, oldName.get(), domain.def()->uuid,
                                                        VIR_DOMAIN_EVENT_UNDEFINED,
                                                        VIR_DOMAIN_EVENT_UNDEFINED_RENAMED));
    domain.queueLifecycle(VIR_DOMAIN_EVENT_DEFINED, VIR_DOMAIN_EVENT_DEFINED_RENAMED);
    return {};
}

/// Called by libvirt's list with both names reserved and the list locked.
static Result<void> renameReserved(virDomainObj *object, const char *name, unsigned, void *)
{
    Domain domain = Domain::borrow(object);
    return rewriteNamed(domain, name);
}

static Result<void> rename(virDomainPtr handle, const char *name, unsigned flags)
{
    TRY(checkFlags(flags, 0));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainRenameEnsureACL>(handle, domain));
    auto job = TRY(Job::begin(domain, VIR_JOB_MODIFY));
    TRY(requirePersistent(domain));
    if (domain.active())
        return makeError(ErrorCode::OperationInvalid, tr("domain '%s' is running and cannot be renamed"),
                         domain.def()->name);
    if (hasManagedSave(domain))
        return makeError(ErrorCode::OperationInvalid,
                         tr("domain '%s' has a managed save image and cannot be renamed"), domain.def()->name);
    return conf::check(virDomainObjListRename(domain.host().domains(), domain.object(), name, 0,
                                              entry<renameReserved>, nullptr));
}

void fillDefinitionApi(virHypervisorDriver &table)
{
    table.domainDefineXML = entry<defineXml>;
    table.domainDefineXMLFlags = entry<defineXmlFlags>;
    table.domainUndefine = entry<undefine>;
    table.domainUndefineFlags = entry<undefineFlags>;
    table.domainGetXMLDesc = entry<getXmlDesc>;
    table.connectDomainXMLFromNative = entry<xmlFromNative>;
    table.connectDomainXMLToNative = entry<xmlToNative>;
    table.domainGetAutostart = entry<getAutostart>;
    table.domainSetAutostart = entry<setAutostart>;
    table.domainSetMetadata = entry<setMetadata>;
    table.domainGetMetadata = entry<getMetadata>;
    table.domainIsActive = entry<isActive>;
    table.domainIsPersistent = entry<isPersistent>;
    table.domainIsUpdated = entry<isUpdated>;
    table.domainGetOSType = entry<getOsType>;
    table.domainRename = entry<rename>;
}

} // namespace godwit::driver
