// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// What `info` tells of an input: gathered here, told as text or as JSON.

#include "tools/contents.h"
#include "tools/domain_summary.h"

#include <array>
#include <map>

namespace godwit::tools {

struct DeviceModelInfo {
    stream::libxl::EmulatorHeader header;
    uint64_t length = 0;   ///< of its state, in bytes
};

struct ImageInfo {
    /// The Xen specification's name of a page type.
    static const char *nameOf(stream::libxc::PageType type);

    StreamHead stream;
    DomainSummary domain;
    bool zerosCounted = false;
    std::array<uint64_t, 16> pagesByType{};             ///< words sent; a page may come again
    uint64_t pagesSent = 0, pagesWithData = 0, zeroPages = 0;
    uint64_t distinctPages = 0;                         ///< that the guest has: with data, or allocated
    uint64_t endOfMemory = 0;                           ///< behind the highest of them, in pages
    uint64_t processors = 0;                            ///< whose state is in the stream: a PV guest's
    uint64_t checkpoints = 0;
    std::vector<std::pair<std::string, uint64_t>> parts;    ///< other records: how many, as they came first
    std::optional<DeviceModelInfo> deviceModel;
    uint64_t end = 0;                                   ///< of the stream, in the input
    uint64_t trailing = 0;                              ///< bytes behind it, in a file
};

struct InfoOptions {
    bool countZeros = true;
    ContentsOptions reading;
};

base::Result<ImageInfo> gatherInfo(const Input &input, const InfoOptions &options);

std::string formatInfo(const Input &input, const ImageInfo &info);
std::string formatInfoJson(const Input &input, const ImageInfo &info);

const char *emulatorName(const stream::libxl::EmulatorHeader &header);

} // namespace godwit::tools
