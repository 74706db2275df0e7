// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "stream/verify_findings.h"

#include <set>
#include <tuple>

namespace godwit::stream {

/// The rules of libxl's records around a libxc stream.
class LibxlVerifier
{
public:
    explicit LibxlVerifier(Findings &findings) : findings_(findings) {}

    void header(uint64_t offset, std::span<const std::byte> raw);
    void record(const RecordAt &record);
    /// `guest` is what the libxc stream says, if that is known.
    base::Result<void> body(const RecordAt &record, Source &body, std::optional<libxc::DomainType> guest);
    /// The libxc stream came to a CHECKPOINT: records of a checkpoint follow.
    void beginCheckpoint() { inCheckpoint_ = true; }

private:
    using Type = libxl::RecordType;

    void checkOrder(const RecordAt &record, Type type);
    base::Result<void> checkEmulator(const RecordAt &record, Source &body);
    base::Result<void> checkXenstoreData(const RecordAt &record, Source &body);
    base::Result<void> checkState(const RecordAt &record, Source &body);

    Findings &findings_;
    bool legacy_ = false;               ///< says the header: made by a converter
    bool contextSeen_ = false;
    bool inCheckpoint_ = false;
    bool afterCheckpoint_ = false;      ///< the last record was CHECKPOINT_END
    bool bodyIsWorthReading_ = false;
    std::set<std::tuple<uint32_t, uint32_t, uint32_t>> emulators_;   ///< of this image: type, emulator, index
};

} // namespace godwit::stream
