// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/xen/xenstored.h"

#include "base/i18n.h"
#include "base/unique_fd.h"

#include <cerrno>
#include <cstring>
#include <sys/socket.h>
#include <sys/un.h>

extern "C" {
#include <xenstore.h>
}

namespace godwit::hypervisor::xen {

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::tr;
using base::UniqueFd;

Result<void> requireXenstored()
{
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const char *path = xs_daemon_socket();
    if (!path || std::strlen(path) >= sizeof address.sun_path)
        return {};
    std::strcpy(address.sun_path, path);
    // Without waiting: a daemon that stands still is none that has died.
    const UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (probe && ::connect(probe.get(), reinterpret_cast<const sockaddr *>(&address), sizeof address) < 0 &&
        errno == ECONNREFUSED)
        return makeError(ErrorCode::OperationFailed, "%s",
                         tr("this host's xenstored has died: guests run on, but until the host is restarted none can "
                            "be started, moved, asked to shut down or ended"));
    return {};
}

} // namespace godwit::hypervisor::xen
