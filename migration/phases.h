// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// The five phases of a migration, in the order in which libvirt's client calls them. Who
// may run the guest, phase by phase:
//
//   Begin     source  the source runs it
//   Prepare   dest.   the source runs it; the destination has an empty guest that waits
//   Perform   source  runs until its last round; when this succeeds both hold it whole and
//                     neither runs it; when this fails the source runs it again already
//   Finish    dest.   the destination runs it; or, if it cannot, ends its copy
//   Confirm   source  ends its copy; or, if Finish did not succeed, runs it again
//
// A source calls: begin, perform, confirm. libvirt calls no Confirm after a failed Perform.

#include "conf/handle.h"
#include "domain/domain.h"
#include "migration/cookie.h"
#include "stream/stripes.h"

#include <string>

namespace godwit::migration {

/// What the caller of a migration asks for: virDomainMigrate3's flags and parameters.
struct Request {
    unsigned flags = 0;               ///< VIR_MIGRATE_*
    std::string name;                 ///< DEST_NAME
    std::string xml;                  ///< DEST_XML
    std::string persistentXml;        ///< PERSIST_XML
    std::string uri;                  ///< URI
    std::string listenAddress;        ///< LISTEN_ADDRESS: where the destination listens
    uint64_t bandwidth = 0;           ///< bytes per second; 0 = unlimited
    unsigned connections = 1;         ///< PARALLEL_CONNECTIONS
    std::string tlsDestination;       ///< TLS_DESTINATION: the name in the destination's certificate
    std::string graphicsUri;          ///< GRAPHICS_URI
    std::string peerUri;              ///< the destination's daemon, for PEER2PEER
    virStream *tunnel = nullptr;      ///< TUNNELLED: where the data goes, instead of to `uri`; borrowed
    virConnectPtr connection = nullptr;   ///< who asks: its end ends an unfinished migration; may be null
};

/// Whether only the definition travels.
inline bool isOffline(const Request &request)
{
    return request.flags & VIR_MIGRATE_OFFLINE;
}

/// How many data connections a migration may have.
inline constexpr unsigned maxConnections = stream::maxConnections;

/// Flags that are supported on both sides.
inline constexpr unsigned supportedFlags = VIR_MIGRATE_LIVE | VIR_MIGRATE_PERSIST_DEST |
                                           VIR_MIGRATE_UNDEFINE_SOURCE | VIR_MIGRATE_PAUSED |
                                           VIR_MIGRATE_CHANGE_PROTECTION | VIR_MIGRATE_UNSAFE |
                                           VIR_MIGRATE_ABORT_ON_ERROR | VIR_MIGRATE_PEER2PEER |
                                           VIR_MIGRATE_TUNNELLED | VIR_MIGRATE_OFFLINE | VIR_MIGRATE_PARALLEL |
                                           VIR_MIGRATE_TLS;

/// What every cookie of ours begins with: the domain, this host, our child (domain locked).
base::Result<Cookie> makeCookie(const domain::Domain &domain);

/// What a phase that answers with XML or a domain gives back beside its cookie.
struct BeginReply {
    std::string xml;
    Cookie cookie;
};

base::Result<BeginReply> begin(domain::Domain &domain, const Request &request);
/// The reply is for Finish; what a peer without our child gave stays empty.
base::Result<Cookie> perform(domain::Domain &domain, const Request &request, const Cookie &fromDestination);
base::Result<void> confirm(domain::Domain &domain, const Request &request, const Cookie &fromDestination, bool cancelled);

/// The source's end of a migration whose destination may run the guest, or may not: it stays
/// paused, until a user who knows resumes it.
void leavePaused(domain::Domain &domain, const base::Error &cause);

/// All phases of a peer-to-peer migration, from the source's daemon.
base::Result<void> migrateToPeer(domain::Domain &domain, Request request);

struct PrepareReply {
    std::string uri;   ///< empty for a tunnel
    Cookie cookie;
};

/// What Prepare needs before it changes anything: read once, and shown to access control.
struct Incoming {
    conf::DomainDef def;
    Cookie cookie;
    bool fromOurs = false;   ///< the source's cookie had our child
    Abilities chosen;        ///< how the guest shall come
};

base::Result<Incoming> readIncoming(domain::Host &host, const Request &request, const char *cookie, int length);
base::Result<PrepareReply> prepare(domain::Host &host, const Request &request, Incoming incoming);
/// The reply is for Confirm.
base::Result<Cookie> finish(domain::Domain &domain, const Request &request, const Cookie &fromSource, bool cancelled);

} // namespace godwit::migration
