// SPDX-License-Identifier: LGPL-2.1-or-later
#include "migration/safety.h"

#include "base/i18n.h"
#include "base/strprintf.h"
#include "conf/handle.h"
#include "conf/libvirt_error.h"

namespace godwit::migration {

using base::Error;
using base::ErrorCode;
using base::makeError;
using base::Result;
using base::strprintf;
using base::tr;

static Error unsafe(const virDomainDiskDef *disk, const char *why)
{
    const std::string text = strprintf(tr("migration of disk '%s' is unsafe: %s (--unsafe migrates it nevertheless)"),
                                       disk->dst, why);
    return Error{ErrorCode::Libvirt, text, 0, VIR_ERR_MIGRATE_UNSAFE, VIR_FROM_THIS};
}

enum class Place { ThisHost, Shared, Cluster };

/// Where the disk's data lies. A cluster's file system keeps its hosts' caches in step itself.
static Result<Place> placeOf(const virDomainDiskDef *disk)
{
    switch (virStorageSourceGetActualType(disk->src)) {
    case VIR_STORAGE_TYPE_NETWORK:
        return Place::Cluster;
    case VIR_STORAGE_TYPE_NVME:
        return Place::ThisHost;
    case VIR_STORAGE_TYPE_FILE: {
        const char *path = virDomainDiskGetSource(disk);
        const int shared = virFileIsSharedFS(path);
        const int cluster = shared < 0 ? -1 : virFileIsClusterFS(path);
        if (cluster < 0)
            return conf::takeLibvirtError();
        if (!shared)
            return Place::ThisHost;
        return cluster ? Place::Cluster : Place::Shared;
    }
    default:
        return Place::Shared;
    }
}

static Result<void> checkDisk(const virDomainDiskDef *disk, bool dropsDiskCaches)
{
    if (virStorageSourceIsEmpty(disk->src) || disk->src->readonly)
        return {};
    const Place place = TRY(placeOf(disk));
    if (place == Place::ThisHost)
        return unsafe(disk, tr("it is not on storage that hosts share"));
    const bool cached = disk->cachemode != VIR_DOMAIN_DISK_CACHE_DISABLE &&
                        disk->cachemode != VIR_DOMAIN_DISK_CACHE_DIRECTSYNC && !disk->src->shared;
    if (place == Place::Shared && cached && !dropsDiskCaches)
        return unsafe(disk, tr("its cache mode is neither none nor directsync"));
    return {};
}

Result<void> checkDisks(const virDomainDef *def, bool dropsDiskCaches)
{
    for (size_t i = 0; i < def->ndisks; i++)
        TRY(checkDisk(def->disks[i], dropsDiskCaches));
    return {};
}

Result<void> checkHostDevices(const virDomainDef *def)
{
    if (def->nhostdevs > 0)
        return makeError(ErrorCode::OperationInvalid,
                         tr("domain '%s' has devices of this host, which cannot be migrated: unplug them first"),
                         def->name);
    return {};
}

Result<void> checkGraphicsUri(const virDomainDef *def, const std::string &text)
{
    if (text.empty())
        return {};
    const conf::Uri uri(virURIParse(text.c_str()));
    if (!uri)
        return makeError(ErrorCode::InvalidArgument, tr("cannot parse graphics URI '%s'"), text.c_str());
    if (!uri->scheme || !uri->server)
        return makeError(ErrorCode::InvalidArgument, tr("graphics URI '%s' is not vnc://HOST[:PORT]"), text.c_str());
    const int type = virDomainGraphicsTypeFromString(uri->scheme);
    if (type != VIR_DOMAIN_GRAPHICS_TYPE_VNC)
        return makeError(ErrorCode::Unsupported, tr("graphics URI '%s': only VNC displays are supported"),
                         text.c_str());
    for (size_t i = 0; i < def->ngraphics; i++) {
        if (def->graphics[i]->type == type)
            return {};
    }
    return makeError(ErrorCode::InvalidArgument, tr("graphics URI '%s': domain '%s' has no such display"),
                     text.c_str(), def->name);
}

} // namespace godwit::migration
