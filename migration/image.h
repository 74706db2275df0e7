// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// Saving a domain to an image and bringing it back: virDomainSave, Restore, ManagedSave
// and the start from a managed-save image.

#include "conf/handle.h"
#include "domain/domain.h"
#include "migration/image_file.h"

#include <optional>

namespace godwit::migration {

struct SaveOptions {
    std::string xml;                   ///< another XML for the image (same ABI); empty = the domain's own
    std::optional<bool> running;       ///< how it shall come back; default: as it was
    bool bypassCache = false;          ///< keep the image out of the page cache
};

/// Save an active domain to `path`; it is shut off then. On failure it goes on as before.
base::Result<void> saveDomain(domain::Domain &domain, const std::string &path, const SaveOptions &options);

/// An opened image and the definition in it (or the one that replaces it).
struct Image {
    ImageReader file;
    conf::DomainDef def;
};

/// Open an image. `xml` (may be null) replaces its definition; the ABI must be the same.
base::Result<Image> openImage(domain::Host &host, const std::string &path, const char *xml);

struct RestoreOptions {
    std::optional<bool> running;   ///< overrides the image's word
    bool bypassCache = false;
};

/// Bring the guest of an image up as a domain of `host`.
base::Result<domain::Domain> restoreDomain(domain::Host &host, Image image, const RestoreOptions &options);

/// Save a persistent domain to where startPersistent() finds it.
base::Result<void> managedSave(domain::Domain &domain, const SaveOptions &options);
/// Remove the managed-save image of a domain. There need not be one.
base::Result<void> managedSaveRemove(domain::Domain &domain);

struct StartOptions {
    bool paused = false;
    bool forceBoot = false;   ///< throw a managed-save image away
    bool bypassCache = false; ///< read one past the page cache
};

/// Start an inactive domain: from its managed-save image if it has one, which is renamed before
/// the guest runs, and removed once all of it has been read. Takes its own job.
base::Result<void> startPersistent(domain::Domain &domain, const StartOptions &options);

} // namespace godwit::migration
