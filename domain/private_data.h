// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "conf/handle.h"
#include "hypervisor/hypervisor.h"

#include <memory>
#include <optional>
#include <string>

namespace godwit::migration {
class Witness;
}

namespace godwit::domain {

class Host;
class TransferSlot;

/// What a migration (or a restore) has come to on this side; kept in the status file, so that a restarted
/// daemon knows who may run.
enum class MigrationPhase : unsigned {
    None = 0,
    Begin = 1,       ///< source: announced, nothing sent
    Perform = 2,     ///< source: memory is on its way
    Performed = 3,   ///< source: stopped, the destination has it all
    Receive = 4,     ///< destination, and restore from an image: not whole yet
    Launch = 5,      ///< destination, and restore from an image: whole, and about to run
};

/// Where the two sides of a migration find each other once the guest has been sent; kept in the
/// status file. See migration/verdict.h.
struct MigrationLink {
    std::string address;        ///< source: the destination's; destination: where it listens
    unsigned short port = 0;
    std::string secret;         ///< hex; empty: a peer that cannot be asked
};

/// The open streams to a domain's consoles and channels, at most one each. Made when needed.
using Consoles = std::unique_ptr<virChrdevs, conf::FreeWith<virChrdevFree>>;

/// Our part of a virDomainObj: its privateData. Guarded by the domain's lock.
struct PrivateData {
    Host *host = nullptr;                              ///< outlives every domain of its list
    std::shared_ptr<hypervisor::Guest> guest;          ///< while active
    std::shared_ptr<hypervisor::GuestListener> events; ///< of this incarnation: tells late events apart
    std::unique_ptr<hypervisor::GuestStatus> status;   ///< read from a status file, until adopted
    MigrationPhase phase = MigrationPhase::None;
    bool ranBeforeMigration = false;                   ///< source: and shall again if it fails
    std::chrono::steady_clock::time_point performedAt; ///< source: when Perform succeeded
    bool undefineAfterMigration = false;               ///< source: UNDEFINE_SOURCE
    MigrationLink link;                                ///< while phase is not None
    std::shared_ptr<migration::Witness> witness;       ///< destination: tells the source what became of it
    std::shared_ptr<TransferSlot> slot;                ///< of the asynchronous job, if it moves memory
    std::string usedImage;                             ///< managed save that the guest came from; goes when it is read
    std::string persistentXml;                         ///< destination: for PERSIST_DEST; empty = the live one
    Consoles consoles;                                 ///< who talks to which of its character devices
    hypervisor::TransferLimits limits;                 ///< as set for this domain, for every transfer
    hypervisor::TransferLimits transferLimits;         ///< of the transfer under way: its own request counts more
    std::optional<hypervisor::StopCause> ownStop;      ///< why it stopped by itself, until it runs again
    bool holdsLeases = false;                          ///< of a lock manager, on its disks
    std::string leaseState;                            ///< what the lock manager wants back with the next ones
    bool abortOnIoError = false;                       ///< source, in Perform: ABORT_ON_ERROR
};

/// The private data of a domain (locked by the caller).
inline PrivateData &privateData(virDomainObj *object)
{
    return *static_cast<PrivateData *>(object->privateData);
}

/// How libvirt's generic code allocates, frees, formats and parses it.
virDomainXMLPrivateDataCallbacks privateDataCallbacks();

} // namespace godwit::domain
