// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// What driver and helper say to each other. This is the one definition of it: encoder,
// decoder, limits, the test against docs/control.md and the fuzz target are all made from
// the `fields` functions below. One process is started per operation; it says Hello, gets
// one order, and ends after Done or Failed.
//
//   Save:     Hello < Save > [Progress <]* SuspendRequest < Suspended > [Progress <]* Done <
//   Restore:  Hello < Restore > [Progress <]* LoadState < StateLoaded > Done <
//   on demand: Hello < RestoreOnDemand > LoadState < StateLoaded > Serving < [Progress <]* Done <
//             Hello < ServePages > Serving < [Progress <]* Done <
//             and while it serves: Stalled <, Retry >, Serving <
//   Relay:    Hello < Relay > [Progress <]* Done <
//   any time: SetLimits >, Abort >, Log <; at the end Failed < instead of Done <
//   (> driver to helper, < helper to driver)
//
// Numbers on the wire never change their meaning; `protocolVersion` counts what does.

#include "base/error.h"

#include <cstdint>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

namespace godwit::control {

inline constexpr uint32_t protocolVersion = 1;

/// A run of guest memory: `pages` pages from `firstPfn`, at `ramOffset` in the RAM file.
struct Region {
    uint64_t firstPfn = 0;
    uint64_t ramOffset = 0;   ///< bytes, page-aligned
    uint64_t pages = 0;

    template <typename Self, typename Visit>
    static void fields(Self &self, Visit &&visit)
    {
        visit("firstPfn", self.firstPfn);
        visit("ramOffset", self.ramOffset);
        visit("pages", self.pages);
    }
    bool operator==(const Region &) const = default;
};

/// Where pages lie in an aligned image (docs/stream.md); all zeros: a plain stream.
struct ImageIndex {
    uint32_t firstBatch = 0;
    uint32_t headSize = 0;
    uint32_t batchPages = 0;

    template <typename Self, typename Visit>
    static void fields(Self &self, Visit &&visit)
    {
        visit("firstBatch", self.firstBatch);
        visit("headSize", self.headSize);
        visit("batchPages", self.batchPages);
    }
    bool operator==(const ImageIndex &) const = default;
};

/// TLS on the connections of a Channel or Listener; no directory: none.
struct Tls {
    std::string directory;    ///< with certificates and keys
    bool verifyPeer = true;   ///< Restore: the source needs a certificate, too
    std::string peerName;     ///< Save: whose certificate the destination must have

    template <typename Self, typename Visit>
    static void fields(Self &self, Visit &&visit)
    {
        visit("directory", self.directory);
        visit("verifyPeer", self.verifyPeer);
        visit("peerName", self.peerName);
    }
    bool operator==(const Tls &) const = default;
};

/// A guest's pages in an aligned image, to be brought as it touches them.
struct PageSource {
    std::string guest;             ///< its name, for messages
    std::vector<Region> regions;
    uint32_t guestPid = 0;         ///< who maps the RAM
    uint64_t begin = 0;            ///< of the stream in the image file
    uint64_t size = 0;             ///< of the file, which must not change
    uint64_t modifiedNs = 0;       ///< its time of modification: likewise
    ImageIndex index;
    bool bypassCache = false;      ///< read pages by direct I/O

    template <typename Self, typename Visit>
    static void fields(Self &self, Visit &&visit)
    {
        visit("guest", self.guest);
        visit("regions", self.regions);
        visit("guestPid", self.guestPid);
        visit("begin", self.begin);
        visit("size", self.size);
        visit("modifiedNs", self.modifiedNs);
        visit("index", self.index);
        visit("bypassCache", self.bypassCache);
    }
    bool operator==(const PageSource &) const = default;
};

enum class StreamKind : uint32_t {
    Invalid = 0,
    File = 1,       ///< seekable image, from its current offset
    Channel = 2,    ///< connected stream socket: preface with secret first, result comes back
    Listener = 3,   ///< listening socket: the peer connects, then as Channel (Restore only)
    Plain = 4,      ///< pipe or socket that carries nothing but the stream
    Last = Plain,
};

enum class Phase : uint32_t {
    Invalid = 0,
    Setup = 1,
    Waiting = 2,       ///< Restore: for the source to connect
    Memory = 3,        ///< Save: the guest may run. Restore: all of its memory
    LastMemory = 4,    ///< Save: the guest is stopped
    DeviceState = 5,
    Finishing = 6,     ///< syncing the file, or waiting for the destination's result
    Last = Finishing,
};

enum class LogLevel : uint32_t { Invalid = 0, Debug = 1, Info = 2, Warning = 3, Error = 4, Last = Error };

// ---- driver to helper -------------------------------------------------------------

/// Guest memory to a stream. Fds: RAM, stream, read end of the device-state pipe, then the
/// Channel's further connections.
struct Save {
    static constexpr uint32_t type = 1;
    static constexpr const char *name = "Save";
    static constexpr size_t fdCount = 3;
    enum Fd : size_t { RamFd, StreamFd, DeviceStateFd, FurtherFds };
    uint32_t furtherFds() const { return connections - 1; }

    std::string guest;             ///< its name, for messages
    std::vector<Region> regions;
    StreamKind kind = StreamKind::File;
    std::string secret;            ///< Channel: 64 hex digits; else empty
    uint32_t connections = 1;      ///< Channel: how many the migration has
    Tls tls;
    bool live = false;             ///< rounds before SuspendRequest
    uint32_t guestPid = 0;         ///< whose writes are tracked; 0: unknown
    uint32_t maxRounds = 0;        ///< fail when the guest is still too busy after so many; 0: never
    uint64_t bandwidth = 0;        ///< bytes per second; 0: unlimited
    uint32_t downtimeMs = 300;     ///< stop the guest when the rest takes no longer
    ImageIndex index;              ///< File: write an aligned image with this index
    bool bypassCache = false;      ///< with an index: write pages by direct I/O

    template <typename Self, typename Visit>
    static void fields(Self &self, Visit &&visit)
    {
        visit("guest", self.guest);
        visit("regions", self.regions);
        visit("kind", self.kind);
        visit("secret", self.secret);
        visit("connections", self.connections);
        visit("tls", self.tls);
        visit("live", self.live);
        visit("guestPid", self.guestPid);
        visit("maxRounds", self.maxRounds);
        visit("bandwidth", self.bandwidth);
        visit("downtimeMs", self.downtimeMs);
        visit("index", self.index);
        visit("bypassCache", self.bypassCache);
    }
    bool operator==(const Save &) const = default;
};

/// A stream to guest memory, which must be all zeros. Fds: RAM, stream or listening
/// socket, write end of the device-state pipe.
struct Restore {
    static constexpr uint32_t type = 2;
    static constexpr const char *name = "Restore";
    static constexpr size_t fdCount = 3;
    enum Fd : size_t { RamFd, StreamFd, DeviceStateFd };

    std::string guest;
    std::vector<Region> regions;
    StreamKind kind = StreamKind::File;
    uint32_t streamVersion = 2;         ///< 1: legacy, 2: libxl v2
    std::string secret;                 ///< Channel, Listener: 64 hex digits; else empty
    uint32_t connections = 1;           ///< Listener: how many the migration has
    Tls tls;
    uint32_t connectTimeoutMs = 30000;  ///< Listener: until a peer with the secret has made them
    uint32_t prefaceTimeoutMs = 10000;  ///< Listener: what one connector may take to show it
    ImageIndex index;                   ///< File: what the image says of itself; it is held to it
    bool bypassCache = false;           ///< with an index: read pages by direct I/O

    template <typename Self, typename Visit>
    static void fields(Self &self, Visit &&visit)
    {
        visit("guest", self.guest);
        visit("regions", self.regions);
        visit("kind", self.kind);
        visit("streamVersion", self.streamVersion);
        visit("secret", self.secret);
        visit("connections", self.connections);
        visit("tls", self.tls);
        visit("connectTimeoutMs", self.connectTimeoutMs);
        visit("prefaceTimeoutMs", self.prefaceTimeoutMs);
        visit("index", self.index);
        visit("bypassCache", self.bypassCache);
    }
    bool operator==(const Restore &) const = default;
};

/// Answer to SuspendRequest: the vCPUs stand still and QEMU writes its device state into
/// the pipe, whose write end it closes after the last byte.
struct Suspended {
    static constexpr uint32_t type = 3;
    static constexpr const char *name = "Suspended";
    static constexpr size_t fdCount = 0;

    template <typename Self, typename Visit>
    static void fields(Self &, Visit &&)
    {
    }
    bool operator==(const Suspended &) const = default;
};

/// Answer to LoadState: QEMU has taken the device state, or why it has not.
struct StateLoaded {
    static constexpr uint32_t type = 4;
    static constexpr const char *name = "StateLoaded";
    static constexpr size_t fdCount = 0;

    bool ok = false;
    std::string message;   ///< when not ok: travels to the source as the true cause

    template <typename Self, typename Visit>
    static void fields(Self &self, Visit &&visit)
    {
        visit("ok", self.ok);
        visit("message", self.message);
    }
    bool operator==(const StateLoaded &) const = default;
};

/// Stop at once: the helper answers Failed and exits. Without a message somebody asked for
/// it (Aborted); with one it is the failure (OperationFailed), of which a source that sends
/// to this helper is told. Closing the connection does the same as an Abort without one.
struct Abort {
    std::string message;

    static constexpr uint32_t type = 5;
    static constexpr const char *name = "Abort";
    static constexpr size_t fdCount = 0;

    template <typename Self, typename Visit>
    static void fields(Self &self, Visit &&visit)
    {
        visit("message", self.message);
    }
    bool operator==(const Abort &) const = default;
};

struct SetLimits {
    static constexpr uint32_t type = 6;
    static constexpr const char *name = "SetLimits";
    static constexpr size_t fdCount = 0;

    uint64_t bandwidth = 0;   ///< bytes per second; 0: unlimited
    uint32_t downtimeMs = 300;

    template <typename Self, typename Visit>
    static void fields(Self &self, Visit &&visit)
    {
        visit("bandwidth", self.bandwidth);
        visit("downtimeMs", self.downtimeMs);
    }
    bool operator==(const SetLimits &) const = default;
};

/// An aligned image to a guest whose memory waits for its pages: only the device state is read
/// before the guest may run. Fds: RAM, image, the guest's userfaultfd, write end of the
/// device-state pipe.
struct RestoreOnDemand {
    static constexpr uint32_t type = 20;
    static constexpr const char *name = "RestoreOnDemand";
    static constexpr size_t fdCount = 4;
    enum Fd : size_t { RamFd, ImageFd, FaultFd, DeviceStateFd };

    PageSource source;

    template <typename Self, typename Visit>
    static void fields(Self &self, Visit &&visit)
    {
        visit("source", self.source);
    }
    bool operator==(const RestoreOnDemand &) const = default;
};

/// Go on with what another helper began: the guest may run, and pages of it are missing.
struct ServePages {
    static constexpr uint32_t type = 21;
    static constexpr const char *name = "ServePages";
    static constexpr size_t fdCount = 3;
    enum Fd : size_t { RamFd, ImageFd, FaultFd };

    PageSource source;

    template <typename Self, typename Visit>
    static void fields(Self &self, Visit &&visit)
    {
        visit("source", self.source);
    }
    bool operator==(const ServePages &) const = default;
};

/// After Stalled: somebody has looked after the image, which counts as it is now, but for its
/// size. Answered by Serving or Stalled.
struct Retry {
    static constexpr uint32_t type = 22;
    static constexpr const char *name = "Retry";
    static constexpr size_t fdCount = 0;

    template <typename Self, typename Visit>
    static void fields(Self &, Visit &&)
    {
    }
    bool operator==(const Retry &) const = default;
};

/// Somebody else's stream between a pipe and a migration's connections: out of the pipe into a Channel, or
/// out of a Listener's into the pipe. Fds: the pipe's end, the stream or listening socket, then the
/// Channel's further connections.
struct Relay {
    static constexpr uint32_t type = 23;
    static constexpr const char *name = "Relay";
    static constexpr size_t fdCount = 2;
    enum Fd : size_t { PipeFd, StreamFd };
    uint32_t furtherFds() const { return kind == StreamKind::Channel ? connections - 1 : 0; }

    std::string guest;                  ///< its name, for messages
    StreamKind kind = StreamKind::Channel;
    std::string secret;                 ///< 64 hex digits
    uint32_t connections = 1;           ///< how many the migration has
    Tls tls;
    uint32_t connectTimeoutMs = 30000;  ///< Listener: until a peer with the secret has made them
    uint32_t prefaceTimeoutMs = 10000;  ///< Listener: what one connector may take to show it

    template <typename Self, typename Visit>
    static void fields(Self &self, Visit &&visit)
    {
        visit("guest", self.guest);
        visit("kind", self.kind);
        visit("secret", self.secret);
        visit("connections", self.connections);
        visit("tls", self.tls);
        visit("connectTimeoutMs", self.connectTimeoutMs);
        visit("prefaceTimeoutMs", self.prefaceTimeoutMs);
    }
    bool operator==(const Relay &) const = default;
};

// ---- helper to driver -------------------------------------------------------------

/// First message of every helper.
struct Hello {
    static constexpr uint32_t type = 101;
    static constexpr const char *name = "Hello";
    static constexpr size_t fdCount = 0;

    uint32_t version = protocolVersion;

    template <typename Self, typename Visit>
    static void fields(Self &self, Visit &&visit)
    {
        visit("version", self.version);
    }
    bool operator==(const Hello &) const = default;
};

/// Stop the guest, let QEMU write its device state into the pipe, say Suspended.
struct SuspendRequest {
    static constexpr uint32_t type = 102;
    static constexpr const char *name = "SuspendRequest";
    static constexpr size_t fdCount = 0;

    template <typename Self, typename Visit>
    static void fields(Self &, Visit &&)
    {
    }
    bool operator==(const SuspendRequest &) const = default;
};

/// All memory is in place and the stream was whole; `size` bytes of device state now flow
/// into the pipe, which is closed after them. Answered by StateLoaded.
struct LoadState {
    static constexpr uint32_t type = 103;
    static constexpr const char *name = "LoadState";
    static constexpr size_t fdCount = 0;

    uint64_t size = 0;

    template <typename Self, typename Visit>
    static void fields(Self &self, Visit &&visit)
    {
        visit("size", self.size);
    }
    bool operator==(const LoadState &) const = default;
};

/// How it goes: four times a second, and at the end of each round.
struct Progress {
    static constexpr uint32_t type = 104;
    static constexpr const char *name = "Progress";
    static constexpr size_t fdCount = 0;

    Phase phase = Phase::Setup;
    uint64_t elapsedMs = 0;
    uint64_t memoryTotal = 0;          ///< bytes of guest memory
    uint64_t memoryProcessed = 0;      ///< bytes of guest memory gone through, repeats included
    uint64_t memoryRemaining = 0;      ///< bytes left in this round
    uint64_t streamBytes = 0;          ///< sent or received, all included
    uint64_t normalPages = 0;          ///< pages with data
    uint64_t constantPages = 0;        ///< zero or never touched: nothing sent
    uint64_t bandwidth = 0;            ///< bytes per second, measured
    uint64_t dirtyPagesPerSecond = 0;
    uint32_t iteration = 0;            ///< round, from 1
    uint64_t expectedDowntimeMs = 0;
    std::string tracker;               ///< "write-protect", "soft-dirty", "content-hash", "none"
    uint32_t connections = 0;          ///< that carry pages; 0: none, a file

    template <typename Self, typename Visit>
    static void fields(Self &self, Visit &&visit)
    {
        visit("phase", self.phase);
        visit("elapsedMs", self.elapsedMs);
        visit("memoryTotal", self.memoryTotal);
        visit("memoryProcessed", self.memoryProcessed);
        visit("memoryRemaining", self.memoryRemaining);
        visit("streamBytes", self.streamBytes);
        visit("normalPages", self.normalPages);
        visit("constantPages", self.constantPages);
        visit("bandwidth", self.bandwidth);
        visit("dirtyPagesPerSecond", self.dirtyPagesPerSecond);
        visit("iteration", self.iteration);
        visit("expectedDowntimeMs", self.expectedDowntimeMs);
        visit("tracker", self.tracker);
        visit("connections", self.connections);
    }
    bool operator==(const Progress &) const = default;
};

/// The operation succeeded; the helper exits.
struct Done {
    static constexpr uint32_t type = 105;
    static constexpr const char *name = "Done";
    static constexpr size_t fdCount = 0;

    Progress progress;                 ///< final figures
    uint64_t deviceStateBytes = 0;
    uint64_t setupMs = 0;              ///< until the first page moved
    uint64_t suspendMs = 0;            ///< Save: from SuspendRequest to Suspended
    uint64_t stoppedMs = 0;            ///< Save: from Suspended until all is sent and acknowledged
    uint64_t loadMs = 0;               ///< Restore: from LoadState to StateLoaded

    template <typename Self, typename Visit>
    static void fields(Self &self, Visit &&visit)
    {
        visit("progress", self.progress);
        visit("deviceStateBytes", self.deviceStateBytes);
        visit("setupMs", self.setupMs);
        visit("suspendMs", self.suspendMs);
        visit("stoppedMs", self.stoppedMs);
        visit("loadMs", self.loadMs);
    }
    bool operator==(const Done &) const = default;
};

/// The operation failed; the helper exits. On a channel `message` is the true cause, on
/// whichever side it happened.
struct Failed {
    static constexpr uint32_t type = 106;
    static constexpr const char *name = "Failed";
    static constexpr size_t fdCount = 0;

    base::ErrorCode code = base::ErrorCode::Internal;
    uint32_t errnum = 0;
    std::string message;

    template <typename Self, typename Visit>
    static void fields(Self &self, Visit &&visit)
    {
        visit("code", self.code);
        visit("errnum", self.errnum);
        visit("message", self.message);
    }
    bool operator==(const Failed &) const = default;
};

struct Log {
    static constexpr uint32_t type = 107;
    static constexpr const char *name = "Log";
    static constexpr size_t fdCount = 0;

    LogLevel level = LogLevel::Info;
    std::string text;

    template <typename Self, typename Visit>
    static void fields(Self &self, Visit &&visit)
    {
        visit("level", self.level);
        visit("text", self.text);
    }
    bool operator==(const Log &) const = default;
};

/// The guest may run: every page that it touches comes, and the others in the background. Done
/// follows when all are in. From the first one on the helper outlives its connection.
struct Serving {
    static constexpr uint32_t type = 120;
    static constexpr const char *name = "Serving";
    static constexpr size_t fdCount = 0;

    Progress progress;

    template <typename Self, typename Visit>
    static void fields(Self &self, Visit &&visit)
    {
        visit("progress", self.progress);
    }
    bool operator==(const Serving &) const = default;
};

/// A page cannot be read: who touches it waits. Nothing more is read in the background until
/// Retry.
struct Stalled {
    static constexpr uint32_t type = 121;
    static constexpr const char *name = "Stalled";
    static constexpr size_t fdCount = 0;

    base::ErrorCode code = base::ErrorCode::Internal;
    uint32_t errnum = 0;
    std::string message;

    template <typename Self, typename Visit>
    static void fields(Self &self, Visit &&visit)
    {
        visit("code", self.code);
        visit("errnum", self.errnum);
        visit("message", self.message);
    }
    bool operator==(const Stalled &) const = default;
};

using Message = std::variant<Save, Restore, Suspended, StateLoaded, Abort, SetLimits, RestoreOnDemand, ServePages, Retry,
                             Relay, Hello, SuspendRequest, LoadState, Progress, Done, Failed, Log, Serving, Stalled>;

} // namespace godwit::control
