// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/strprintf.h"
#include "domain/job.h"
#include "driver/api.h"
#include "driver/connection.h"
#include "driver/entry.h"

#include <algorithm>
#include <fcntl.h>

namespace godwit::driver {

// Hands on a running guest: consoles, channels, keys, screens.

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::tr;
using domain::Domain;
using domain::Job;

static virDomainChrDef *byAlias(virDomainChrDef **devices, size_t count, const char *alias)
{
    for (size_t i = 0; i < count; i++) {
        if (STREQ_NULLABLE(devices[i]->info.alias, alias))
            return devices[i];
    }
    return nullptr;
}

static Result<virDomainChrDef *> findConsole(const virDomainDef *def, const char *alias)
{
    virDomainChrDef *found = nullptr;
    if (alias) {
        found = byAlias(def->consoles, def->nconsoles, alias);
        if (!found)
            found = byAlias(def->serials, def->nserials, alias);
        if (!found)
            found = byAlias(def->parallels, def->nparallels, alias);
    } else if (def->nconsoles) {
        found = def->consoles[0];
    } else if (def->nserials) {
        found = def->serials[0];
    }
    if (!found)
        return makeError(ErrorCode::OperationInvalid, tr("domain '%s' has no console '%s'"), def->name,
                         alias ? alias : "");
    // The first console of an HVM guest is but another name of its first serial port.
    const bool isSerial = found->deviceType == VIR_DOMAIN_CHR_DEVICE_TYPE_CONSOLE &&
                          found->targetType == VIR_DOMAIN_CHR_CONSOLE_TARGET_TYPE_SERIAL;
    return isSerial && def->nserials ? def->serials[0] : found;
}

static Result<virDomainChrDef *> findChannel(const virDomainDef *def, const char *name)
{
    for (size_t i = 0; i < def->nchannels; i++) {
        virDomainChrDef *channel = def->channels[i];
        const bool named = channel->targetType == VIR_DOMAIN_CHR_CHANNEL_TARGET_TYPE_VIRTIO &&
                           STREQ_NULLABLE(channel->target.name, name);
        if (!name || named || STREQ_NULLABLE(channel->info.alias, name))
            return channel;
    }
    return makeError(ErrorCode::OperationInvalid, tr("domain '%s' has no channel '%s'"), def->name, name ? name : "");
}

/// Connect `stream` to a character device: one client at a time, whom another may push out.
static Result<void> connect(Domain &domain, const virDomainChrDef *device, virStreamPtr stream, bool force)
{
    const int type = device->source->type;
    if (type != VIR_DOMAIN_CHR_TYPE_PTY && type != VIR_DOMAIN_CHR_TYPE_UNIX)
        return makeError(ErrorCode::Unsupported, tr("character device '%s' is of type '%s', not 'pty' or 'unix'"),
                         device->info.alias ? device->info.alias : "", virDomainChrTypeToString(type));
    domain::Consoles &consoles = domain.data().consoles;
    if (!consoles)
        consoles.reset(virChrdevAlloc());
    const int busy = virChrdevOpen(consoles.get(), device->source, stream, force);
    if (busy > 0)
        return makeError(ErrorCode::OperationFailed, tr("somebody is connected to '%s' of domain '%s' already"),
                         device->info.alias, domain.def()->name);
    return conf::check(busy);
}

/// SAFE asks for what is always so here: one client at a time.
static Result<void> openConsole(virDomainPtr handle, const char *alias, virStreamPtr stream, unsigned flags)
{
    TRY(checkFlags(flags, VIR_DOMAIN_CONSOLE_FORCE | VIR_DOMAIN_CONSOLE_SAFE));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainOpenConsoleEnsureACL>(handle, domain));
    TRY(domain.requireActive());
    const virDomainChrDef *console = TRY(findConsole(domain.def(), alias));
    return connect(domain, console, stream, flags & VIR_DOMAIN_CONSOLE_FORCE);
}

static Result<void> openChannel(virDomainPtr handle, const char *name, virStreamPtr stream, unsigned flags)
{
    TRY(checkFlags(flags, VIR_DOMAIN_CHANNEL_FORCE));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainOpenChannelEnsureACL>(handle, domain));
    TRY(domain.requireActive());
    const virDomainChrDef *channel = TRY(findChannel(domain.def(), name));
    return connect(domain, channel, stream, flags & VIR_DOMAIN_CHANNEL_FORCE);
}

static Result<std::vector<unsigned>> toQnums(unsigned codeSet, const unsigned *keys, int count)
{
    std::vector<unsigned> qnums;
    for (int i = 0; i < count; i++) {
        const int qnum = virKeycodeValueTranslate(static_cast<virKeycodeSet>(codeSet), VIR_KEYCODE_SET_QNUM,
                                                  static_cast<int>(keys[i]));
        if (qnum < 0)
            return makeError(ErrorCode::InvalidArgument, tr("key %u of code set '%s' is not known"), keys[i],
                             virKeycodeSetTypeToString(static_cast<int>(codeSet)));
        qnums.push_back(static_cast<unsigned>(qnum));
    }
    return qnums;
}

static Result<void> sendKey(virDomainPtr handle, unsigned codeSet, unsigned holdMs, unsigned *keys, int count,
                            unsigned flags)
{
    TRY(checkFlags(flags, 0));
    if (codeSet >= VIR_KEYCODE_SET_LAST)
        return makeError(ErrorCode::InvalidArgument, tr("there is no key code set %u"), codeSet);
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainSendKeyEnsureACL>(handle, domain));
    const auto qnums = TRY(toQnums(codeSet, keys, count));
    auto job = TRY(Job::begin(domain, VIR_JOB_MODIFY));
    auto guest = TRY(domain.guest());
    return domain.unlocked([&] { return guest->sendKeys(qnums, holdMs); });
}

static Result<void> requireScreen(const virDomainDef *def, unsigned screen)
{
    unsigned screens = 0;
    for (size_t i = 0; i < def->nvideos; i++)
        screens += std::max(def->videos[i]->heads, 1u);
    if (screen >= screens)
        return makeError(ErrorCode::OperationInvalid, tr("domain '%s' has %u screens, none with number %u"), def->name,
                         screens, screen);
    return {};
}

static Result<conf::Text> screenshot(virDomainPtr handle, virStreamPtr stream, unsigned screen, unsigned flags)
{
    TRY(checkFlags(flags, 0));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainScreenshotEnsureACL>(handle, domain));
    auto job = TRY(Job::begin(domain, VIR_JOB_QUERY));
    auto guest = TRY(domain.guest());
    TRY(requireScreen(domain.def(), screen));
    const base::UniqueFd picture = TRY(domain.unlocked([&] { return guest->screenshot(screen); }));
    // The stream opens a file of its own by name, which an open one has even when it has no other.
    const std::string path = base::strprintf("/proc/self/fd/%d", picture.get());
    TRY(conf::check(virFDStreamOpenFile(stream, path.c_str(), 0, 0, O_RDONLY)));
    return conf::Text(g_strdup("image/x-portable-pixmap"));
}

static Result<void> injectNmi(virDomainPtr handle, unsigned flags)
{
    TRY(checkFlags(flags, 0));
    Domain domain = TRY(findDomain(handle));
    TRY(access<virDomainInjectNMIEnsureACL>(handle, domain));
    auto job = TRY(Job::begin(domain, VIR_JOB_MODIFY));
    auto guest = TRY(domain.guest());
    return domain.unlocked([&] { return guest->injectNmi(); });
}

void fillConsoleApi(virHypervisorDriver &table)
{
    table.domainOpenConsole = entry<openConsole>;
    table.domainOpenChannel = entry<openChannel>;
    table.domainSendKey = entry<sendKey>;
    table.domainScreenshot = entry<screenshot>;
    table.domainInjectNMI = entry<injectNmi>;
}

} // namespace godwit::driver
