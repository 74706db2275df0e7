// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stream/temporary_file.h"

#include "base/i18n.h"

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <unistd.h>

namespace godwit::stream {

using namespace base;

Result<UniqueFd> openTemporaryFile(const std::string &folder)
{
    const char *environment = std::getenv("TMPDIR");
    const std::string place = !folder.empty() ? folder : environment && *environment ? environment : "/var/tmp";
    UniqueFd file(::open(place.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (file)
        return file;
    std::string name = place + "/godwit-XXXXXX";   // where the file system has no O_TMPFILE
    file.reset(::mkostemp(name.data(), O_CLOEXEC));
    if (!file)
        return systemError(errno, tr("cannot make a temporary file in %s"), place.c_str());
    ::unlink(name.c_str());
    return file;
}

} // namespace godwit::stream
