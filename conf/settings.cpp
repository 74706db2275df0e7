// SPDX-License-Identifier: LGPL-2.1-or-later
#include "conf/settings.h"

#include "base/i18n.h"
#include "conf/handle.h"
#include "conf/libvirt_error.h"

#include <cstdlib>
#include <unistd.h>

namespace godwit::conf {

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::tr;

static std::string take(char *text)
{
    Text owner(text);
    return text ? text : "";
}

/// The program or library `name`, which the build puts into `folder`: from the build
/// directory when GODWIT_BUILD_DIR names one, else where it is installed.
static std::string builtFile(const char *folder, const char *name, const char *installed)
{
    if (const char *build = std::getenv("GODWIT_BUILD_DIR"))
        return std::string(build) + "/" + folder + "/" + name;
    return std::string(installed) + "/" + name;
}

static Settings common()
{
    Settings settings;
    settings.helper = builtFile("helper", "godwit-helper", GODWIT_LIBEXECDIR);
    settings.agent = builtFile("engine/agent", "libgodwit-agent.so", GODWIT_LIBEXECDIR);
    settings.converter = builtFile("tools", "godwit-stream", GODWIT_BINDIR);
    settings.launcher = builtFile("engine/agent", "godwit-launch", GODWIT_LIBEXECDIR);
    return settings;
}

static Result<void> readText(virConf *conf, const char *key, std::string &value)
{
    char *text = nullptr;
    const int found = virConfGetValueString(conf, key, &text);
    if (found < 0)
        return takeLibvirtError();
    if (found > 0)
        value = take(text);
    return {};
}

static Result<void> readDirectory(virConf *conf, const char *key, std::string &value)
{
    TRY(readText(conf, key, value));
    if (!value.empty() && value[0] != '/')
        return makeError(ErrorCode::InvalidArgument, tr("%s must be an absolute path, not '%s'"), key,
                         value.c_str());
    return {};
}

static Result<void> readNumber(virConf *conf, const char *key, unsigned lowest, unsigned highest,
                               unsigned &value)
{
    unsigned number = value;
    if (virConfGetValueUInt(conf, key, &number) < 0)
        return takeLibvirtError();
    if (number < lowest || number > highest)
        return makeError(ErrorCode::InvalidArgument, tr("%s must be between %u and %u, not %u"), key,
                         lowest, highest, number);
    value = number;
    return {};
}

static Result<void> readSwitch(virConf *conf, const char *key, bool &value)
{
    if (virConfGetValueBool(conf, key, &value) < 0)
        return takeLibvirtError();
    return {};
}

/// As in qemu.conf: what is said of migration goes before what is said of TLS in general.
static Result<void> readTlsKeys(virConf *conf, Settings &settings)
{
    constexpr const char *migrationOnly = "/etc/pki/libvirt-migrate";
    TRY(readDirectory(conf, "default_tls_x509_cert_dir", settings.tlsDirectory));
    if (access(migrationOnly, X_OK) == 0)
        settings.tlsDirectory = migrationOnly;
    TRY(readDirectory(conf, "migrate_tls_x509_cert_dir", settings.tlsDirectory));
    TRY(readSwitch(conf, "default_tls_x509_verify", settings.tlsVerify));
    TRY(readSwitch(conf, "migrate_tls_x509_verify", settings.tlsVerify));
    return readSwitch(conf, "migrate_tls_force", settings.tlsForce);
}

static Result<void> readMigrationKeys(virConf *conf, Settings &settings)
{
    TRY(readDirectory(conf, "helper", settings.helper));
    TRY(readText(conf, "migration_address", settings.migrationAddress));
    TRY(readText(conf, "migration_host", settings.migrationHost));
    TRY(readSwitch(conf, "migration_plain_peers", settings.migrationPlainPeers));
    TRY(readTlsKeys(conf, settings));
    TRY(readNumber(conf, "migration_port_min", 1, 65534, settings.migrationPortMin));
    TRY(readNumber(conf, "migration_port_max", settings.migrationPortMin + 1, 65535, settings.migrationPortMax));
    TRY(readNumber(conf, "keepalive_interval", 0, 3600, settings.keepaliveInterval));
    TRY(readNumber(conf, "keepalive_count", 1, 1000, settings.keepaliveCount));
    TRY(readNumber(conf, "migration_downtime", 1, 2000000, settings.migrationDowntime));
    TRY(readNumber(conf, "migration_max_rounds", 0, 1000000, settings.migrationMaxRounds));
    TRY(readNumber(conf, "migration_max_time", 0, 1000000, settings.migrationMaxTime));
    TRY(readNumber(conf, "max_transfers", 1, 1000, settings.maxTransfers));
    return {};
}

static Result<void> readKeys(virConf *conf, Settings &settings)
{
    TRY(readDirectory(conf, "config_dir", settings.configDir));
    TRY(readDirectory(conf, "state_dir", settings.stateDir));
    TRY(readDirectory(conf, "run_dir", settings.runDir));
    TRY(readDirectory(conf, "log_dir", settings.logDir));
    TRY(readDirectory(conf, "save_dir", settings.saveDir));
    TRY(readDirectory(conf, "agent", settings.agent));
    TRY(readDirectory(conf, "launcher", settings.launcher));
    TRY(readDirectory(conf, "qemu_binary", settings.qemuBinary));
    TRY(readMigrationKeys(conf, settings));
    TRY(readSwitch(conf, "restore_on_demand", settings.restoreOnDemand));
    settings.autostartDir = settings.configDir + "/autostart";
    return {};
}

/// Override `settings` by the file at `path`; a missing file changes nothing unless it was named.
static Result<void> readFile(const std::string &path, bool named, Settings &settings)
{
    if (!named && access(path.c_str(), R_OK) < 0) {
        settings.autostartDir = settings.configDir + "/autostart";
        return {};
    }
    Conf conf(virConfReadFile(path.c_str(), 0));
    if (!conf)
        return takeLibvirtError();
    TRY_IN(path, readKeys(conf.get(), settings));
    return {};
}

Result<Settings> Settings::forDaemon(bool privileged)
{
    Settings settings = common();
    settings.privileged = privileged;
    std::string path;
    if (privileged) {
        settings.configDir = "/etc/libvirt/godwit";
        settings.stateDir = "/run/libvirt/godwit";
        settings.logDir = "/var/log/libvirt/godwit";
        settings.saveDir = "/var/lib/libvirt/godwit/save";
        path = "/etc/libvirt/godwit.conf";
    } else {
        const std::string config = take(virGetUserConfigDirectory());
        settings.configDir = config + "/godwit";
        settings.stateDir = take(virGetUserRuntimeDirectory()) + "/godwit";
        settings.logDir = take(virGetUserCacheDirectory()) + "/godwit/log";
        settings.saveDir = settings.configDir + "/save";
        path = config + "/godwit.conf";
    }
    settings.runDir = settings.stateDir + "/guests";
    const char *named = std::getenv("GODWIT_CONFIG");
    TRY(readFile(named ? named : path, named != nullptr, settings));
    return settings;
}

/// The keys of libvirt's own libxl.conf.
static Result<void> readXenKeys(virConf *conf, Settings &settings)
{
    bool autoballoon = false;
    const int found = virConfGetValueBool(conf, "autoballoon", &autoballoon);
    if (found < 0 || virConfGetValueBool(conf, "nested_hvm", &settings.nestedHvm) < 0)
        return takeLibvirtError();
    if (found > 0)
        settings.autoballoon = autoballoon;
    return readText(conf, "lock_manager", settings.lockManager);
}

static Result<void> readWith(const char *path, Result<void> (*read)(virConf *, Settings &), Settings &settings)
{
    if (access(path, R_OK) < 0)
        return {};
    Conf conf(virConfReadFile(path, 0));
    if (!conf)
        return takeLibvirtError();
    TRY_IN(path, read(conf.get(), settings));
    return {};
}

Result<Settings> Settings::forXen()
{
    Settings settings = common();
    settings.kind = Kind::Xen;
    settings.privileged = true;
    settings.configDir = "/etc/libvirt/libxl";
    settings.autostartDir = settings.configDir + "/autostart";
    settings.stateDir = "/run/libvirt/libxl";
    settings.runDir = settings.stateDir + "/guests";
    settings.logDir = "/var/log/libvirt/libxl";
    settings.saveDir = "/var/lib/libvirt/libxl/save";
    const char *named = std::getenv("GODWIT_CONFIG");
    TRY(readWith(named ? named : "/etc/libvirt/godwit.conf", readMigrationKeys, settings));
    TRY(readWith("/etc/libvirt/libxl.conf", readXenKeys, settings));
    return settings;
}

Result<Settings> Settings::forEmbed(const std::string &root)
{
    Settings settings = common();
    settings.privileged = geteuid() == 0;
    settings.root = root;
    settings.configDir = root + "/etc/godwit";
    settings.stateDir = root + "/run/godwit";
    settings.runDir = settings.stateDir + "/guests";
    settings.logDir = root + "/log/godwit";
    settings.saveDir = root + "/var/lib/godwit/save";
    TRY(readFile(root + "/etc/godwit.conf", false, settings));
    return settings;
}

} // namespace godwit::conf
