// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "conf/handle.h"
#include "hypervisor/hypervisor.h"

#include <memory>
#include <string>

namespace godwit::domain {

class Host;

/// What a migration (or a restore) has come to on this side; kept in the status file, so that a restarted
/// daemon knows who may run.
enum class MigrationPhase : unsigned {
    None = 0,
    Begin = 1,       ///< source: announced, nothing sent
    Perform = 2,     ///< source: memory is on its way
    Performed = 3,   ///< source: stopped, the destination has it all
    Receive = 4,     ///< destination, and restore from an image: not whole yet
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
    unsigned short migrationPort = 0;                  ///< destination: acquired from the Host's range
    std::string persistentXml;                         ///< destination: for PERSIST_DEST; empty = the live one
    Consoles consoles;                                 ///< who talks to which of its character devices
    hypervisor::TransferLimits limits;                 ///< as set for this domain, for every transfer
    hypervisor::TransferLimits transferLimits;         ///< of the transfer under way: its own request counts more
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
