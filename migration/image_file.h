// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// Saved images as files: written under a temporary name and renamed when whole, so that an
// image is whole or absent and an older good one survives. May block: call with no domain
// locked.

#include "base/result.h"
#include "base/unique_fd.h"
#include "stream/savefile.h"

#include <string>

namespace godwit::migration {

struct ImageOptions {
    bool running = true;    ///< what the guest shall do when it comes back
    bool aligned = false;   ///< with an aligned stream, of the index that is the default
};

/// An image being written. Unless commit() succeeds nothing of it stays.
class ImageWriter
{
public:
    /// Make the temporary file beside `path` and write header and XML.
    static base::Result<ImageWriter> create(const std::string &path, const std::string &xml,
                                            const ImageOptions &options);
    static base::Result<ImageWriter> create(const std::string &path, const std::string &xml,
                                            const stream::SavefileExtension &extension);
    ImageWriter(ImageWriter &&other) noexcept;
    ImageWriter &operator=(ImageWriter &&) = delete;
    ~ImageWriter();

    /// A new fd of the file, positioned where the stream begins.
    base::Result<base::UniqueFd> stream() const;
    /// Sync the file, put it in the place of `path`, sync the directory.
    base::Result<void> commit();

private:
    ImageWriter(std::string path, std::string temporary, base::UniqueFd fd);

    std::string path_;
    std::string temporary_;   ///< empty once committed or moved from
    base::UniqueFd fd_;
};

/// An image that is there.
struct ImageReader {
    std::string path;
    stream::Savefile head;   ///< of xl's images only the version
    base::UniqueFd fd;       ///< positioned at the stream
    /// What stands in an image of xl's in the place of XML.
    struct Native {
        const char *format;   ///< see Hypervisor::fromNative()
        std::string text;
    };
    std::optional<Native> native;

    static base::Result<ImageReader> open(const std::string &path);
    /// Nothing for a plain image.
    std::optional<stream::AlignedIndex> index() const;
    /// What the guest did when it was saved; stock images do not say: they ran.
    bool wasRunning() const;
};

/// Replace the XML of the image at `path`, as a new file that takes its place.
base::Result<void> rewriteImage(const std::string &path, const std::string &xml, bool running);

} // namespace godwit::migration
