// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "stream/fd_io.h"
#include "stream/legacy_format.h"

#include <string>

namespace godwit::stream::legacy {

struct Head {
    Width width = Width::Invalid;
    DomainType guest = DomainType::Invalid;
    uint64_t p2mSize = 0;
    std::optional<PvInfo> pv;   ///< of a PV guest
};

/// Bodies that mean nothing to a stream's reader.
enum class Blob : uint8_t { VcpuBasic, VcpuExtended, VcpuXsave, SharedInfo, HvmContext };

/// What becomes of a legacy stream's contents. Called in the stream's order, on the reader's
/// thread; an error ends the reading and gets the part's name and place in front. Where a
/// Source is given, exactly the bytes named must be read from it.
class Handler
{
public:
    virtual ~Handler() = default;

    virtual base::Result<void> begin(const Head &head) = 0;
    /// Once, for a PV guest: where the pages of its page-number table are.
    virtual base::Result<void> p2mFrames(std::span<const uint64_t> frames) = 0;
    /// Pages with and without data, at least one, at most maxBatch; the data of those that
    /// have some comes next. The same page may come again: the last one counts.
    virtual base::Result<void> pages(std::span<const libxc::PageWord> words, Source &source) = 0;
    virtual base::Result<void> tscInfo(const libxc::TscInfo &tsc) = 0;
    virtual base::Result<void> toolstack(std::span<const Physmap> physmaps) = 0;
    /// At the end of the chunks those that chunks set, if any; in the tail, the three of the tail.
    virtual base::Result<void> hvmParams(std::span<const libxc::HvmParam> params) = 0;
    virtual base::Result<void> blob(Blob kind, uint32_t vcpu, uint32_t length, Source &source) = 0;
    /// After the tail, before the device model's state: the guest is whole. `last` is false
    /// for every checkpoint but the last one; without checkpoints it is true.
    virtual base::Result<void> guestComplete(bool last) = 0;
    /// An HVM guest's; without a length it goes on until the source's end.
    virtual base::Result<void> deviceModel(const DeviceModelInfo &info, std::optional<uint32_t> length,
                                           Source &source) = 0;
    /// After everything of this checkpoint, or of the stream.
    virtual base::Result<void> end(bool last) = 0;
};

struct ReadOptions {
    /// What the guest is known to be; without it the stream tells.
    std::optional<DomainType> guest;
    /// The stream is of continuous protection: images follow each other until one is marked
    /// with LAST_CHECKPOINT. Otherwise there is one, marked or not.
    bool checkpointed = false;
    /// An HVM stream ends with its device model's state. (Not without libxl.)
    bool deviceModel = true;
    /// Where an unlinked file for compressed checkpoints goes; "": $TMPDIR, or /var/tmp.
    std::string temporaryFolder = {};
};

/// Read one legacy stream. What follows it is left alone, unless its device model's state
/// has no length. A checkpointed stream that ends without a last checkpoint is an error,
/// and what the handler got up to the last end() is whole.
base::Result<void> readStream(Source &source, Handler &handler, const ReadOptions &options = {});

} // namespace godwit::stream::legacy
