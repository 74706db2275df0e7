// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// What the two sides tell each other in the phases' cookies. The element and its first
// four children are those of libvirt's libxl driver, kept exact: a stock peer reads them
// and passes over what else is there. <godwit> is ours (docs/migration.md).

#include "base/result.h"
#include "conf/libvirt.h"

#include <array>
#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace godwit::migration {

inline constexpr size_t maxCookieSize = 4 * 1024 * 1024;

/// Stream versions: 1 is Xen's legacy stream, 2 is libxl's.
inline constexpr unsigned legacyStreamVersion = 1;
inline constexpr unsigned currentStreamVersion = 2;

/// How a stream's pages are laid out: in batches, one after the other.
inline constexpr const char *plainLayout = "plain";

/// What a side offers (the source, in Begin's cookie), or what was chosen of it (the
/// destination, in Prepare's). Names that are not known are kept: choosing passes over them.
struct Abilities {
    unsigned streamVersionMin = currentStreamVersion;
    unsigned streamVersionMax = currentStreamVersion;
    std::vector<std::string> layouts = {plainLayout};
    unsigned channels = 1;                  ///< data connections: at most; or, chosen, how many
    bool tls = false;                       ///< data connections are encrypted
    std::vector<std::string> compression;   ///< methods, the best first
    bool checkpoints = false;
    bool postCopy = false;

    bool operator==(const Abilities &) const = default;
};

/// Limits of what a cookie may list.
inline constexpr unsigned maxCookieChannels = 255;
inline constexpr size_t maxCookieNames = 16;
inline constexpr size_t maxCookieNameLength = 32;

/// Our child of the cookie. Its schema is xml/migration-cookie.rng.
struct CookieExtension {
    Abilities abilities;
    bool question = false;       ///< asks what became of a sent guest, or answers (migration/verdict.h)
    std::string secret;          ///< destination: 64 hex digits that every data connection presents
    std::string persistentXml;   ///< source: the persistent definition, for PERSIST_DEST
    /// How long the guest had stood still when Perform ended (source), or how long Finish took
    /// until it ran (destination). The sum, with the ways between, is its downtime.
    std::optional<std::chrono::milliseconds> stoodStill;
    /// Source, when Perform has ended: in how many rounds the memory was sent, which only the source knows.
    std::optional<uint32_t> rounds;
};

struct Cookie {
    std::string name;
    std::array<unsigned char, VIR_UUID_BUFLEN> uuid{};
    std::string hostname;
    unsigned streamVersion = currentStreamVersion;
    std::optional<CookieExtension> extension;
};

/// The cookie as XML, with a final newline; the caller counts the NUL into its length.
std::string formatCookie(const Cookie &cookie);

/// Read a cookie of `length` bytes, the final NUL included.
base::Result<Cookie> parseCookie(const char *cookie, int length);

} // namespace godwit::migration
