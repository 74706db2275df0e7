// SPDX-License-Identifier: LGPL-2.1-or-later
#include "migration/image_file.h"

#include "base/i18n.h"
#include "base/strprintf.h"
#include "base/units.h"
#include "hypervisor/hypervisor.h"
#include "stream/xl_savefile.h"

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <sys/stat.h>
#include <unistd.h>

namespace godwit::migration {

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::systemError;
using base::tr;
using base::UniqueFd;

static Result<void> writeAll(int fd, std::span<const std::byte> bytes, const std::string &path)
{
    while (!bytes.empty()) {
        const ssize_t written = ::write(fd, bytes.data(), bytes.size());
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return systemError(errno, tr("cannot write '%s'"), path.c_str());
        bytes = bytes.subspan(static_cast<size_t>(written));
    }
    return {};
}

ImageWriter::ImageWriter(std::string path, std::string temporary, UniqueFd fd)
    : path_(std::move(path)), temporary_(std::move(temporary)), fd_(std::move(fd))
{
}

ImageWriter::ImageWriter(ImageWriter &&other) noexcept
    : path_(std::move(other.path_)), temporary_(std::exchange(other.temporary_, {})), fd_(std::move(other.fd_))
{
}

ImageWriter::~ImageWriter()
{
    if (!temporary_.empty())
        ::unlink(temporary_.c_str());
}

static stream::SavedState savedState(bool running)
{
    return running ? stream::SavedState::Running : stream::SavedState::Paused;
}

Result<ImageWriter> ImageWriter::create(const std::string &path, const std::string &xml, const ImageOptions &options)
{
    const auto layout = options.aligned ? stream::SavefileLayout::Aligned : stream::SavefileLayout::Plain;
    return create(path, xml, stream::SavefileExtension{layout, savedState(options.running)});
}

Result<ImageWriter> ImageWriter::create(const std::string &path, const std::string &xml,
                                        const stream::SavefileExtension &extension)
{
    struct stat existing;
    if (::stat(path.c_str(), &existing) == 0 && !S_ISREG(existing.st_mode))
        return makeError(ErrorCode::InvalidArgument, tr("'%s' is no regular file"), path.c_str());
    const size_t alignment = extension.layout == stream::SavefileLayout::Aligned ? base::pageSize : 1;
    const std::vector<std::byte> head = TRY(stream::encodeSavefile(xml, extension, alignment));
    std::string temporary = path + ".partial.XXXXXX";
    UniqueFd fd(::mkostemp(temporary.data(), O_CLOEXEC));
    if (!fd)
        return systemError(errno, tr("cannot create '%s'"), path.c_str());
    ImageWriter writer(path, std::move(temporary), std::move(fd));
    TRY(writeAll(writer.fd_.get(), head, path));
    return writer;
}

Result<UniqueFd> ImageWriter::stream() const
{
    UniqueFd copy(::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 3));
    if (!copy)
        return systemError(errno, "%s", tr("cannot duplicate a file descriptor"));
    return copy;
}

Result<void> ImageWriter::commit()
{
    if (::fsync(fd_.get()) < 0)
        return systemError(errno, tr("cannot write '%s'"), path_.c_str());
    if (::rename(temporary_.c_str(), path_.c_str()) < 0)
        return systemError(errno, tr("cannot rename '%s' to '%s'"), temporary_.c_str(), path_.c_str());
    temporary_.clear();
    const std::string folder = std::filesystem::absolute(path_).parent_path();
    const UniqueFd directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory || ::fsync(directory.get()) < 0)
        return systemError(errno, tr("cannot sync directory '%s'"), folder.c_str());
    return {};
}

static Result<ImageReader> openXlImage(const std::string &path, UniqueFd fd)
{
    stream::XlSavefile xl = TRY(stream::readXlSavefile(fd.get()));
    stream::Savefile head;
    head.header.version = xl.header.isLegacy() ? stream::SavefileVersion::Legacy : stream::SavefileVersion::Libxl2;
    head.streamOffset = xl.streamOffset;
    const bool json = xl.header.mandatoryFlags & stream::xlFlagJson;
    ImageReader::Native native{json ? hypervisor::savedXlFormat : hypervisor::xlFormat, xl.config.value_or("")};
    return ImageReader{path, std::move(head), std::move(fd), std::move(native)};
}

Result<ImageReader> ImageReader::open(const std::string &path)
{
    // Non-blocking: a FIFO must not hold us up before it is refused.
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    struct stat status;
    if (!fd || ::fstat(fd.get(), &status) < 0)
        return systemError(errno, tr("cannot open '%s'"), path.c_str());
    if (!S_ISREG(status.st_mode))
        return makeError(ErrorCode::InvalidArgument, tr("'%s' is no regular file"), path.c_str());
    std::array<std::byte, stream::xlSavefileHeaderSize> start;
    const ssize_t got = ::pread(fd.get(), start.data(), start.size(), 0);
    if (got > 0 && stream::isXlSavefile(std::span(start).first(static_cast<size_t>(got))))
        return TRY_IN("'" + path + "'", openXlImage(path, std::move(fd)));
    stream::Savefile head = TRY_IN("'" + path + "'", stream::readSavefile(fd.get()));
    return ImageReader{path, std::move(head), std::move(fd), {}};
}

std::optional<stream::AlignedIndex> ImageReader::index() const
{
    const auto &extension = head.header.extension;
    if (!extension || extension->layout != stream::SavefileLayout::Aligned)
        return {};
    return extension->index;
}

bool ImageReader::wasRunning() const
{
    return !head.header.extension || head.header.extension->state != stream::SavedState::Paused;
}

/// Copy [at, end) of `from` to where `to` stands, by the kernel.
static Result<void> copyRange(int from, off_t at, off_t end, int to)
{
    while (at < end) {
        const ssize_t copied = ::copy_file_range(from, &at, to, nullptr, static_cast<size_t>(end - at), 0);
        if (copied < 0 && errno != EINTR)
            return systemError(errno, "copy_file_range");
        if (copied == 0)
            return makeError(ErrorCode::BadFormat, tr("the image ends at byte %lld"), static_cast<long long>(at));
    }
    return {};
}

/// Copy what is left of `from`; its holes become holes.
static Result<void> copyRest(int from, int to)
{
    const off_t begin = ::lseek(from, 0, SEEK_CUR), end = ::lseek(from, 0, SEEK_END);
    const off_t target = ::lseek(to, 0, SEEK_CUR);
    if (begin < 0 || end < 0 || target < 0 || ::ftruncate(to, target + (end - begin)) < 0)
        return systemError(errno, "ftruncate");
    for (off_t at = begin; at < end;) {
        off_t data = ::lseek(from, at, SEEK_DATA);
        if (data < 0 && errno == ENXIO)
            return {};
        if (data < 0)
            data = at;   // no holes are known here
        off_t hole = ::lseek(from, data, SEEK_HOLE);
        if (hole < 0)
            hole = end;
        if (::lseek(to, target + (data - begin), SEEK_SET) < 0)
            return systemError(errno, "lseek");
        TRY(copyRange(from, data, hole, to));
        at = hole;
    }
    return {};
}

Result<void> rewriteImage(const std::string &path, const std::string &xml, bool running)
{
    ImageReader old = TRY(ImageReader::open(path));
    if (old.head.header.version != stream::SavefileVersion::Libxl2)
        return makeError(ErrorCode::Unsupported, tr("'%s' holds a legacy stream: its XML cannot be changed"),
                         path.c_str());
    stream::SavefileExtension extension = old.head.header.extension.value_or(stream::SavefileExtension{});
    extension.state = savedState(running);
    ImageWriter writer = TRY(ImageWriter::create(path, xml, extension));
    const UniqueFd out = TRY(writer.stream());
    TRY_IN(base::strprintf(tr("copying '%s'"), path.c_str()), copyRest(old.fd.get(), out.get()));
    return writer.commit();
}

} // namespace godwit::migration
