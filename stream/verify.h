// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// Does an image or stream keep to its specification? docs/stream.md, "What is verified",
// says what is demanded, and the "Errata" of each format what is tolerated. Everything that Xen's
// verify-stream-v2 refuses is refused here, but for what the errata name. Page data is not
// looked at: of a file only headers and small records are read.

#include "stream/legacy_reader.h"
#include "stream/walk.h"

#include <functional>

namespace godwit::stream {

enum class Severity : uint8_t {
    Warning,    ///< odd, but it can be restored
    Error,      ///< breaks the specification
};

struct Finding {
    Severity severity = Severity::Error;
    uint64_t offset = 0;    ///< counted as the source counts
    std::string place;      ///< a record's name as in the specification, or a part's
    std::string message;    ///< goes on after the place: "comes a second time"

    /// "PAGE_DATA at byte 4096: comes before STATIC_DATA_END", translated.
    std::string text() const;
};

struct Report {
    std::vector<Finding> findings;   ///< the first ones, in the order they were found
    uint64_t errors = 0;             ///< all there were
    uint64_t warnings = 0;
    /// The end was reached: false when something could not be read beyond.
    bool complete = false;

    bool isValid() const { return errors == 0; }
};

struct VerifyOptions {
    size_t maxFindings = 100;
    /// The stream is all there is: bytes behind it are an error.
    bool isAlone = true;
    /// Called now and then with the offset reached.
    std::function<void(uint64_t offset)> progress = {};
};

/// What is wrong with a stream is in the report; an error is only what kept us from reading.
/// A libxl or libxc stream:
base::Result<Report> verifyStream(Source &source, const VerifyOptions &options = {},
                                  StreamKind kind = StreamKind::Detect);
/// A legacy stream, which has no frames: nothing is found behind the first error.
base::Result<Report> verifyLegacyStream(Source &source, const VerifyOptions &options = {},
                                        const legacy::ReadOptions &read = {});
/// An image of libvirt or xl, head and stream, or a bare stream of any kind, from where the
/// fd (borrowed) stands. Offsets count from there.
base::Result<Report> verifyImage(int fd, const VerifyOptions &options = {});

} // namespace godwit::stream
