// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// What is in an input's stream, of whatever version: legacy streams show the records that
// they would be converted to.

#include "stream/legacy_reader.h"
#include "stream/walk.h"
#include "tools/input.h"

#include <functional>

namespace godwit::tools {

struct StreamHead {
    bool libxl = false;             ///< there is a libxl stream around the libxc one
    bool converted = false;         ///< says its header: from a legacy stream
    uint32_t version = 0;           ///< libxc's; 1: legacy
    stream::libxc::DomainHeader domain;
    std::optional<stream::legacy::Head> legacy;
};

/// A record that is neither pages nor device state.
struct Part {
    stream::Layer layer = stream::Layer::Libxc;
    uint32_t type = 0;
    std::string name;               ///< "0x…" of an unknown one
    uint64_t length = 0;

    bool is(stream::libxc::RecordType wanted) const
    {
        return layer == stream::Layer::Libxc && type == static_cast<uint32_t>(wanted);
    }
};

/// Who is told. Called in the stream's order; an error ends the reading and gets the place in
/// front. Of the Sources may be read as much as is wanted.
class Contents
{
public:
    virtual ~Contents() = default;

    virtual base::Result<void> head(const StreamHead &) { return {}; }
    /// Some words of a PAGE_DATA record; the same page may come again: the last one counts.
    virtual base::Result<void> pages(std::span<const stream::libxc::PageWord>) { return {}; }
    /// The data of those that have some.
    virtual base::Result<void> pageData(std::span<const stream::libxc::PageWord>, stream::Source &) { return {}; }
    virtual base::Result<void> part(const Part &, stream::Source &) { return {}; }
    /// Without a length it goes on until the end.
    virtual base::Result<void> deviceState(const stream::libxl::EmulatorHeader &, std::optional<uint64_t> /*length*/,
                                           stream::Source &)
    {
        return {};
    }
    /// A checkpoint is complete, and another begins.
    virtual base::Result<void> checkpoint() { return {}; }
};

struct ContentsOptions {
    bool checkpointed = false;      ///< a legacy stream does not say so itself
    /// Called now and then with the offset in the input.
    std::function<void(uint64_t offset)> progress;
};

/// Read the stream to its end. Returns the offset behind it.
base::Result<uint64_t> readContents(const Input &input, Contents &contents, const ContentsOptions &options);

} // namespace godwit::tools
