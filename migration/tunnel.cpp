// SPDX-License-Identifier: LGPL-2.1-or-later
#include "migration/tunnel.h"

#include "base/i18n.h"
#include "base/log.h"
#include "conf/libvirt_error.h"

#include <fcntl.h>
#include <vector>

namespace godwit::migration {

using base::LogLevel;
using base::Result;
using base::systemError;
using base::tr;
using base::UniqueFd;

/// As much as libvirt's protocol takes in one message of any of its versions.
static constexpr size_t chunkSize = 256 * 1024 - 24;

Result<Pipe> Pipe::make()
{
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) < 0)
        return systemError(errno, "pipe");
    Pipe out{UniqueFd(ends[0]), UniqueFd(ends[1])};
    // Fewer wake-ups; a system that does not allow it does without.
    (void)::fcntl(out.writeEnd.get(), F_SETPIPE_SZ, 1 << 20);
    return out;
}

TunnelSender::~TunnelSender()
{
    if (thread_.joinable())
        thread_.join();
}

Result<UniqueFd> TunnelSender::start()
{
    Pipe pipe = TRY(Pipe::make());
    source_ = std::move(pipe.readEnd);
    thread_ = std::thread([this] {
        carried_ = carry();
        // Whoever still writes shall notice.
        source_.reset();
    });
    return std::move(pipe.writeEnd);
}

Result<void> TunnelSender::carry()
{
    std::vector<char> chunk(chunkSize);
    for (;;) {
        const ssize_t got = ::read(source_.get(), chunk.data(), chunk.size());
        if (got == 0)
            return {};
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return systemError(errno, "%s", tr("cannot read what goes into the tunnel"));
        for (ssize_t done = 0; done < got;) {
            const int sent = virStreamSend(stream_, chunk.data() + done, static_cast<size_t>(got - done));
            if (sent < 0)
                return conf::takeLibvirtError();
            done += sent;
        }
    }
}

Result<void> TunnelSender::finish(bool whole)
{
    if (thread_.joinable())
        thread_.join();
    if (carried_ && whole)
        return conf::check(virStreamFinish(stream_));
    if (virStreamAbort(stream_) < 0)
        log(LogLevel::Warning, "%s", conf::takeLibvirtError().message.c_str());
    return std::exchange(carried_, {});
}

} // namespace godwit::migration
