// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// A godwit-helper between libxl, whose save helper knows one fd, and a migration's connections
// (docs/channel.md, "Relay").

#include "base/result.h"
#include "base/unique_fd.h"
#include "conf/handle.h"
#include "conf/libvirt.h"
#include "control/messages.h"

#include <condition_variable>
#include <mutex>
#include <optional>
#include <span>
#include <thread>

namespace godwit::hypervisor::xen {

class RelayProcess
{
public:
    /// Start it, and hand it its order with the fds (borrowed).
    static base::Result<std::unique_ptr<RelayProcess>> start(const std::string &program, const control::Relay &order,
                                                             std::span<const int> fds);
    /// Ends it.
    ~RelayProcess();
    RelayProcess(const RelayProcess &) = delete;
    RelayProcess &operator=(const RelayProcess &) = delete;

    /// Wait until all is through, and the other side has said so; or why not.
    base::Result<void> wait();
    /// The failure that it has told of, or tells of soon.
    std::optional<base::Error> failure(std::chrono::milliseconds patience);
    /// End it; the other side is told the reason.
    void abort(const std::string &reason);

private:
    RelayProcess() = default;
    void read();
    void conclude(base::Result<void> outcome);

    base::UniqueFd control_;
    std::unique_ptr<virCommand, conf::FreeWith<virCommandFree>> command_;
    std::thread reader_;
    std::mutex mutex_;
    std::condition_variable concluded_;
    std::optional<base::Result<void>> outcome_;
};

} // namespace godwit::hypervisor::xen
