// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tools/output.h"

#include "base/i18n.h"
#include "base/strprintf.h"

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <limits>
#include <sys/stat.h>
#include <unistd.h>

namespace godwit::tools {

using namespace base;
namespace fs = std::filesystem;

Output::Output(Output &&other) noexcept
    : name_(std::move(other.name_)), path_(std::move(other.path_)), temporary_(std::exchange(other.temporary_, {})),
      fd_(std::move(other.fd_)), isFile_(other.isFile_), replaces_(other.replaces_), reserved_(other.reserved_)
{
}

Output::~Output()
{
    if (!temporary_.empty())
        ::unlink(temporary_.c_str());
}

Result<Output> Output::open(const std::string &path, bool isText)
{
    Output out;
    if (path == "-") {
        out.name_ = tr("standard output");
        out.fd_.reset(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3));
        if (!out.fd_)
            return systemError(errno, "%s", out.name_.c_str());
        if (!isText && ::isatty(out.fd_.get()))
            return makeError(ErrorCode::InvalidArgument, "%s", tr("this is not for a terminal: name a file"));
        return out;
    }
    out.name_ = "'" + path + "'";
    std::error_code ignored;
    const fs::path target = fs::weakly_canonical(fs::absolute(path, ignored), ignored);
    out.path_ = target.empty() ? path : target.string();
    struct stat status{};
    out.replaces_ = ::stat(out.path_.c_str(), &status) == 0;
    if (out.replaces_ && !S_ISREG(status.st_mode)) {
        out.fd_.reset(::open(out.path_.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY));
        if (!out.fd_)
            return systemError(errno, tr("cannot open %s"), out.name_.c_str());
        return out;
    }
    TRY(out.openFile());
    // A guest's memory is nobody's business but its owner's; a file that was there stays as open as it was.
    if (out.replaces_) {
        if (::fchown(out.fd(), status.st_uid, status.st_gid) == 0)
            ::fchmod(out.fd(), status.st_mode & 07777);
    }
    return out;
}

Result<void> Output::openFile()
{
    isFile_ = true;
    const fs::path folder = fs::path(path_).parent_path();
    // Without a name it is gone when we are, whatever ends us.
    fd_.reset(::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (fd_)
        return {};
    temporary_ = path_ + ".partial.XXXXXX";
    fd_.reset(::mkostemp(temporary_.data(), O_CLOEXEC));
    if (fd_)
        return {};
    temporary_.clear();
    return systemError(errno, tr("cannot create %s"), name_.c_str());
}

Result<void> Output::nameTemporary()
{
    const std::string self = strprintf("/proc/self/fd/%d", fd());
    for (unsigned number = 0;; number++) {
        temporary_ = strprintf("%s.partial.%ld.%u", path_.c_str(), static_cast<long>(::getpid()), number);
        if (::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, temporary_.c_str(), AT_SYMLINK_FOLLOW) == 0)
            return {};
        temporary_.clear();
        if (errno != EEXIST)
            return systemError(errno, tr("cannot create %s"), name_.c_str());
    }
}

void Output::expect(uint64_t size)
{
    if (isFile_ && size <= static_cast<uint64_t>(std::numeric_limits<off_t>::max()))
        reserved_ = ::fallocate(fd(), FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(size)) == 0;
}

/// Give back what was reserved and not used.
static Result<void> trim(int fd)
{
    struct stat status{};
    if (::fstat(fd, &status) < 0 || ::ftruncate(fd, status.st_size) < 0)
        return systemError(errno, "%s", tr("cannot set the file's size"));
    return {};
}

static Result<void> syncFolder(const std::string &path)
{
    const fs::path folder = fs::path(path).parent_path();
    const UniqueFd directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory || ::fsync(directory.get()) < 0)
        return systemError(errno, tr("cannot sync directory '%s'"), folder.c_str());
    return {};
}

Result<void> Output::commit()
{
    if (isFile_) {
        if (reserved_)
            TRY_IN(name_, trim(fd()));
        if (replaces_ && ::fsync(fd()) < 0)
            return systemError(errno, tr("cannot write %s"), name_.c_str());
        if (temporary_.empty())
            TRY(nameTemporary());
        if (::rename(temporary_.c_str(), path_.c_str()) < 0)
            return systemError(errno, tr("cannot rename '%s' to %s"), temporary_.c_str(), name_.c_str());
        temporary_.clear();
        if (replaces_)
            TRY(syncFolder(path_));
    }
    // Some filesystems tell of a full disk only now.
    if (::close(fd_.release()) < 0 && errno != EINTR)
        return systemError(errno, tr("cannot write %s"), name_.c_str());
    return {};
}

} // namespace godwit::tools
