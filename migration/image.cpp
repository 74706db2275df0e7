// SPDX-License-Identifier: LGPL-2.1-or-later
#include "migration/image.h"

#include "base/i18n.h"
#include "base/log.h"
#include "base/rollback.h"
#include "base/strprintf.h"
#include "domain/host.h"
#include "domain/job.h"
#include "domain/lifecycle.h"
#include "migration/travel_xml.h"

namespace godwit::migration {

using base::ErrorCode;
using base::LogLevel;
using base::makeError;
using base::Result;
using base::Rollback;
using base::systemError;
using base::tr;
using domain::AsyncJob;
using domain::Domain;
using domain::Host;
using hypervisor::StreamKind;

static hypervisor::ImageIndex toHypervisor(const stream::AlignedIndex &index)
{
    return {index.firstBatch, index.headSize, index.batchPages};
}

/// A guest that was stopped for a save which came to nothing goes on.
static void goOn(Domain &domain, const std::shared_ptr<hypervisor::Guest> &guest, bool guestIsStopped)
{
    if (guestIsStopped) {
        auto resumed = domain.unlocked([&] { return guest->resume(hypervisor::ResumeMode::Fast); });
        if (!resumed) {
            log(LogLevel::Error, "domain '%s': cannot resume after a failed save: %s", domain.def()->name,
                resumed.error().message.c_str());
            return;
        }
    }
    if (domain.active())
        domain.setState(VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_SAVE_CANCELED, VIR_DOMAIN_EVENT_RESUMED,
                        VIR_DOMAIN_EVENT_RESUMED_UNPAUSED);
}

Result<void> saveDomain(Domain &domain, const std::string &path, const SaveOptions &options)
{
    auto job = TRY(AsyncJob::begin(domain, VIR_ASYNC_JOB_SAVE, VIR_DOMAIN_JOB_OPERATION_SAVE, 0));
    auto guest = TRY(domain.guest());
    const bool ran = domain.state() == VIR_DOMAIN_RUNNING;
    const std::string xml = TRY(travelXml(domain, options.xml));
    bool stopped = false;
    Rollback rollback;
    if (ran) {
        domain.setState(VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_SAVE, VIR_DOMAIN_EVENT_SUSPENDED,
                        VIR_DOMAIN_EVENT_SUSPENDED_PAUSED);
        rollback.onFailure([&] { goOn(domain, guest, stopped); });
    }

    hypervisor::TransferProgress figures;
    Result<void> saved = domain.unlocked([&]() -> Result<void> {
        const ImageOptions how{.running = options.running.value_or(ran), .aligned = guest->canAlign()};
        ImageWriter image = TRY(ImageWriter::create(path, xml, how));
        hypervisor::SaveRequest request;
        request.stream = TRY(image.stream());
        request.kind = StreamKind::File;
        if (how.aligned)
            request.index = toHypervisor(stream::AlignedIndex{});
        request.bypassCache = options.bypassCache;
        request.observer = job.get();
        figures = TRY(guest->save(std::move(request)));
        stopped = true;
        return image.commit();
    });
    if (!saved) {
        job->fail(saved.error());
        return std::move(saved).error().in(base::strprintf(tr("saving '%s'"), domain.def()->name));
    }
    rollback.commit();
    job->complete(figures);
    return domain::destroyDomain(domain, false, VIR_DOMAIN_SHUTOFF_SAVED, VIR_DOMAIN_EVENT_STOPPED_SAVED);
}

static Result<conf::DomainDef> parseNative(Host &host, const ImageReader::Native &native)
{
    return host.hypervisor().fromNative(native.format, native.text.c_str(), host.xmlOption());
}

Result<Image> openImage(Host &host, const std::string &path, const char *xml)
{
    constexpr unsigned parse = VIR_DOMAIN_DEF_PARSE_INACTIVE | VIR_DOMAIN_DEF_PARSE_SKIP_VALIDATE;
    ImageReader file = TRY(ImageReader::open(path));
    // What xl's configuration has no words for, XML that is given says.
    if (xml && file.native)
        return Image{std::move(file), TRY(host.parse(xml, parse))};
    conf::DomainDef def = TRY_IN("'" + path + "'", file.native ? parseNative(host, *file.native)
                                                               : host.parse(file.head.xml.c_str(), parse));
    if (xml) {
        conf::DomainDef other = TRY(host.parse(xml, parse));
        if (!virDomainDefCheckABIStability(def.get(), other.get(), host.xmlOption()))
            return conf::takeLibvirtError();
        def = std::move(other);
    }
    return Image{std::move(file), std::move(def)};
}

/// A guest that runs changes its disks, which a managed-save image of it must not outlive as one
/// that can be started from: it gets another name, and goes when nobody reads it any more.
static Result<void> setImageAside(Domain &domain, const std::string &path)
{
    const std::string aside = path + ".used";
    if (::rename(path.c_str(), aside.c_str()) < 0)
        return systemError(errno, tr("cannot rename '%s' to '%s'"), path.c_str(), aside.c_str());
    domain.data().usedImage = aside;
    domain.object()->hasManagedSave = false;
    return {};
}

static void putImageBack(Domain &domain, const std::string &path)
{
    const std::string aside = std::exchange(domain.data().usedImage, {});
    if (aside.empty())
        return;
    if (::rename(aside.c_str(), path.c_str()) < 0)
        log(LogLevel::Error, "%s", systemError(errno, tr("cannot rename '%s' to '%s'"), aside.c_str(), path.c_str()).message.c_str());
    else
        domain.object()->hasManagedSave = true;
}

/// How an image is to be restored.
struct Filling {
    bool paused = false;
    bool bypassCache = false;
    bool managed = false;   ///< the image is the domain's managed save, and is used up
};

/// Fill an inactive domain, whose live definition is set, from an image.
static Result<void> fillFromImage(Domain &domain, AsyncJob &job, ImageReader file, const Filling &how)
{
    const std::string path = file.path;
    hypervisor::ReceiveRequest request;
    if (const auto index = file.index())
        request.index = toHypervisor(*index);
    request.bypassCache = how.bypassCache;
    request.stream = std::move(file.fd);
    request.kind = StreamKind::File;
    request.streamVersion = static_cast<unsigned>(file.head.header.version);
    TRY(domain::receiveDomain(domain, std::move(request)));
    auto guest = TRY(domain.guest());
    Rollback rollback;
    rollback.onFailure([&] {
        if (auto gone = domain::destroyGuest(domain, guest, false); !gone)
            log(LogLevel::Error, "%s", gone.error().message.c_str());
        domain::endDomain(domain, VIR_DOMAIN_SHUTOFF_FAILED, VIR_DOMAIN_EVENT_STOPPED_FAILED);
    });
    auto figures = TRY(domain.unlocked([&] { return guest->finishReceiving(&job); }));
    TRY(domain.requireActive());
    domain::StartReason reason;
    reason.runningReason = VIR_DOMAIN_RUNNING_RESTORED;
    reason.startedDetail = VIR_DOMAIN_EVENT_STARTED_RESTORED;
    if (how.managed) {
        TRY(setImageAside(domain, path));
        rollback.onFailure([&] { putImageBack(domain, path); });
    }
    TRY(domain::launchReceived(domain, how.paused, reason));
    rollback.commit();
    if (!guest->memoryPending())
        domain::releaseImage(domain);
    job.complete(figures);
    return {};
}

Result<Domain> restoreDomain(Host &host, Image image, const RestoreOptions &options)
{
    const std::string name = image.def->name;
    Domain domain = TRY(domain::addDomain(host, std::move(image.def),
                                          VIR_DOMAIN_OBJ_LIST_ADD_LIVE | VIR_DOMAIN_OBJ_LIST_ADD_CHECK_LIVE));
    Result<void> filled = [&]() -> Result<void> {
        auto job = TRY(AsyncJob::begin(domain, VIR_ASYNC_JOB_START, VIR_DOMAIN_JOB_OPERATION_RESTORE, 0));
        const bool paused = !options.running.value_or(image.file.wasRunning());
        return fillFromImage(domain, *job, std::move(image.file), {paused, options.bypassCache, false});
    }();
    if (!filled) {
        domain::dropLiveDefinition(domain);
        return std::move(filled).error().in(base::strprintf(tr("restoring '%s'"), name.c_str()));
    }
    return domain;
}

Result<void> managedSave(Domain &domain, const SaveOptions &options)
{
    TRY(domain.requireActive());
    if (!domain.persistent())
        return makeError(ErrorCode::OperationInvalid, "%s", tr("cannot do managed save for a transient domain"));
    TRY(saveDomain(domain, domain.host().savePath(domain.def()), options));
    domain.object()->hasManagedSave = true;
    return {};
}

/// Job held.
static Result<void> removeManagedSave(Domain &domain)
{
    const std::string path = domain.host().savePath(domain.def());
    if (::unlink(path.c_str()) < 0 && errno != ENOENT)
        return systemError(errno, tr("cannot remove '%s'"), path.c_str());
    domain.object()->hasManagedSave = false;
    return {};
}

Result<void> managedSaveRemove(Domain &domain)
{
    auto job = TRY(domain::Job::begin(domain, VIR_JOB_MODIFY));
    return removeManagedSave(domain);
}

/// Start from the managed-save image, which stays until the guest has all of it.
static Result<void> startFromManagedSave(Domain &domain, AsyncJob &job, const StartOptions &options)
{
    Host &host = domain.host();
    const std::string path = host.savePath(domain.def());
    Image image = TRY(domain.unlocked([&] { return openImage(host, path, nullptr); }));
    if (memcmp(image.def->uuid, domain.def()->uuid, VIR_UUID_BUFLEN) != 0 ||
        STRNEQ(image.def->name, domain.def()->name))
        return makeError(ErrorCode::OperationFailed, tr("'%s' is an image of another domain, '%s'"), path.c_str(),
                         image.def->name);
    TRY(domain.requireInactive());
    const domain::TransferSlot slot = TRY(host.takeTransferSlot(domain.name()));
    const bool stayPaused = options.paused || !image.file.wasRunning();
    virDomainDef *def = image.def.release();
    virDomainObjAssignDef(domain.object(), &def, true, nullptr);
    Result<void> filled = fillFromImage(domain, job, std::move(image.file), {stayPaused, options.bypassCache, true});
    if (!filled) {
        domain::dropLiveDefinition(domain);
        return std::move(filled).error();
    }
    return {};
}

Result<void> startPersistent(Domain &domain, const StartOptions &options)
{
    auto job = TRY(AsyncJob::begin(domain, VIR_ASYNC_JOB_START, VIR_DOMAIN_JOB_OPERATION_START, 0));
    TRY(domain.requireInactive());
    // Of a guest that was lost with its host: it had run, and its disks are no longer the image's.
    (void)::unlink((domain.host().savePath(domain.def()) + ".used").c_str());
    if (domain.object()->hasManagedSave && options.forceBoot)
        TRY(removeManagedSave(domain));
    if (domain.object()->hasManagedSave) {
        auto started = startFromManagedSave(domain, *job, options);
        if (!started)
            return std::move(started).error().in(base::strprintf(
                tr("starting '%s' from its managed save image (--force-boot discards it)"), domain.def()->name));
        return {};
    }
    return domain::startDomain(domain, options.paused);
}

} // namespace godwit::migration
