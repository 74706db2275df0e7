// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.h"

#include <optional>
#include <string>

namespace godwit::conf {

/// Where a Host keeps things and how it behaves: built-in defaults for its kind of root,
/// overridden by godwit.conf. Immutable once loaded.
struct Settings {
    enum class Kind { Machine, Xen };
    Kind kind = Kind::Machine;
    bool privileged = false;       ///< godwit:///system, xen:///system
    std::string root;              ///< embed mode's root; empty in a daemon

    std::string configDir;         ///< persistent definitions: DIR/NAME.xml
    std::string autostartDir;      ///< links to those that start by themselves
    std::string stateDir;          ///< status files, guests' run directories, locks
    std::string runDir;            ///< sockets: short paths
    std::string logDir;            ///< QEMU's stderr, one file per domain
    std::string saveDir;           ///< managed-save images

    std::string helper;            ///< path of godwit-helper
    std::string agent;             ///< path of libgodwit-agent.so
    std::string converter;         ///< path of godwit-stream, for legacy streams on Xen
    std::string launcher;          ///< path of godwit-launch
    std::string qemuBinary;        ///< empty = the first qemu-system-ARCH on PATH

    std::string migrationAddress;  ///< where Prepare listens; empty = every address, IPv4 and IPv6
    std::string migrationHost;     ///< the name other hosts reach us by; empty = hostname
    std::string tlsDirectory = "/etc/pki/qemu"; ///< certificates and keys of migrations
    bool tlsVerify = true;                      ///< a source must show a certificate
    bool tlsForce = false;                      ///< no migration without TLS
    bool migrationPlainPeers = true;            ///< let stock peers in: no secret, no TLS
    unsigned keepaliveInterval = 5;             ///< seconds between signs of life of a peer's daemon; 0: none
    unsigned keepaliveCount = 5;                ///< how many may be missing until it counts as gone
    unsigned migrationPortMin = 49152;
    unsigned migrationPortMax = 49215;
    unsigned migrationDowntime = 300;           ///< milliseconds
    unsigned migrationMaxRounds = 0;            ///< 0: no limit
    unsigned migrationMaxTime = 0;              ///< seconds; 0: no limit
    unsigned maxTransfers = 10;                 ///< at once: each may keep one of libvirtd's 20 workers
    bool restoreOnDemand = true;                ///< let a guest run before its memory is read

    // Of xen:///system, under the names of libvirt's libxl.conf.
    std::optional<bool> autoballoon;            ///< not said: unless dom0's memory is fixed at boot
    bool nestedHvm = false;
    std::string lockManager;                    ///< empty = none

    /// Those of xen:///system: the directories of libvirt's own driver for Xen, in whose place
    /// Godwit stands, and its libxl.conf; what concerns migration is read from godwit.conf.
    static base::Result<Settings> forXen();
    /// Defaults of a daemon (system as root, else session). GODWIT_CONFIG names another file.
    static base::Result<Settings> forDaemon(bool privileged);
    /// Defaults of embed mode below `root` (ROOT/etc/godwit.conf is read if it is there).
    static base::Result<Settings> forEmbed(const std::string &root);
};

} // namespace godwit::conf
