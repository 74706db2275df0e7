// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// The streams of generate_streams.py, which knows nothing of our code.

#include "tests/stream/streams.h"

#include <filesystem>

namespace godwit::tests {

struct GoldenStream {
    std::string name;
    std::string format;                 ///< libxl, libxc, xl, libvirt
    unsigned warnings = 0;              ///< that it deserves
    std::string xen;                    ///< what verify-stream-v2 does: accepts, refuses; "-": cannot read it
    Bytes data;
    std::vector<std::string> records;   ///< "LAYER NAME OFFSET LENGTH"
};

/// Made once, and kept.
const std::vector<GoldenStream> &goldenStreams();

/// A folder that goes with its owner.
class TemporaryFolder
{
public:
    TemporaryFolder();
    ~TemporaryFolder();
    TemporaryFolder(const TemporaryFolder &) = delete;
    TemporaryFolder &operator=(const TemporaryFolder &) = delete;

    std::string file(const std::string &name) const { return (path_ / name).string(); }

private:
    std::filesystem::path path_;
};

Bytes contentOf(const std::string &path);
int run(const std::string &command);
bool haveXensVerifier();

} // namespace godwit::tests
