// SPDX-License-Identifier: LGPL-2.1-or-later
#include "migration/negotiation.h"

#include "base/i18n.h"

#include "stream/stripes.h"

#include <algorithm>

namespace godwit::migration {

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::tr;

Abilities sourceAbilities()
{
    return {};
}

Abilities destinationAbilities()
{
    Abilities out;
    out.streamVersionMin = legacyStreamVersion;   // converted while it is read
    out.channels = stream::maxConnections;
    return out;
}

Abilities offerOf(const Cookie &fromSource)
{
    if (fromSource.extension)
        return fromSource.extension->abilities;
    Abilities out;
    out.streamVersionMin = out.streamVersionMax = fromSource.streamVersion;
    return out;
}

static std::string join(const std::vector<std::string> &names)
{
    std::string out;
    for (const std::string &name : names)
        out += (out.empty() ? "" : ", ") + name;
    return out;
}

/// The first of `offered` that is among `own`; empty where there is none.
static std::vector<std::string> firstOf(const std::vector<std::string> &offered, const std::vector<std::string> &own)
{
    for (const std::string &name : offered) {
        if (std::find(own.begin(), own.end(), name) != own.end())
            return {name};
    }
    return {};
}

Result<Abilities> choose(const Abilities &offer, const std::string &sourceHost, const Abilities &own,
                         const std::string &ownHost)
{
    const char *source = sourceHost.empty() ? "?" : sourceHost.c_str();
    Abilities out;
    const unsigned version = std::min(offer.streamVersionMax, own.streamVersionMax);
    if (version < offer.streamVersionMin || version < own.streamVersionMin)
        return makeError(ErrorCode::Unsupported,
                         tr("host '%s' sends stream versions %u to %u, host '%s' reads versions %u to %u"), source,
                         offer.streamVersionMin, offer.streamVersionMax, ownHost.c_str(), own.streamVersionMin,
                         own.streamVersionMax);
    out.streamVersionMin = out.streamVersionMax = version;
    out.layouts = firstOf(offer.layouts, own.layouts);
    if (out.layouts.empty())
        return makeError(ErrorCode::Unsupported, tr("host '%s' sends layouts %s, host '%s' reads layouts %s"), source,
                         join(offer.layouts).c_str(), ownHost.c_str(), join(own.layouts).c_str());
    out.channels = std::min(offer.channels, own.channels);
    out.tls = offer.tls && own.tls;
    out.compression = firstOf(offer.compression, own.compression);
    out.checkpoints = offer.checkpoints && own.checkpoints;
    out.postCopy = offer.postCopy && own.postCopy;
    return out;
}

Result<void> checkDemand(unsigned connections, bool tls, const Abilities &chosen, const std::string &peer)
{
    if (tls != chosen.tls)
        return makeError(ErrorCode::Unsupported, tr("host '%s' does not migrate with TLS"),
                         peer.empty() ? "?" : peer.c_str());
    if (connections != chosen.channels)
        return makeError(ErrorCode::Unsupported, tr("host '%s' makes a parallel migration over %u connections, not %u"),
                         peer.empty() ? "?" : peer.c_str(), chosen.channels, connections);
    return {};
}

Result<void> checkChoice(const Abilities &offer, const Cookie &fromDestination, bool tunnelled)
{
    if (!fromDestination.extension)
        return {};   // a peer that knows nothing of ours gets a plain stream
    const auto chosen = choose(fromDestination.extension->abilities, fromDestination.hostname, offer, "");
    if (!chosen || *chosen != fromDestination.extension->abilities)
        return makeError(ErrorCode::Unsupported, tr("host '%s' chose what it was not offered"),
                         fromDestination.hostname.c_str());
    if (fromDestination.extension->secret.empty() && !tunnelled)
        return makeError(ErrorCode::Unsupported, tr("host '%s' gave no secret for the data connection"),
                         fromDestination.hostname.c_str());
    return {};
}

} // namespace godwit::migration
