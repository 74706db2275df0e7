// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.h"
#include "base/unique_fd.h"
#include "control/messages.h"
#include "hypervisor/machine/event_loop.h"
#include "hypervisor/machine/process.h"

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>

namespace godwit::hypervisor::machine {

/// What a helper tells, on the event thread.
struct HelperListener {
    std::function<void(const control::Message &)> message;
    std::function<void(const base::Error &why)> lost;   ///< gone without Done or Failed; once, last
};

/// One godwit-helper: our child, which moves one guest's memory once.
class HelperProcess : public std::enable_shared_from_this<HelperProcess>
{
public:
    /// Start it and hand it its order with the fds (borrowed).
    static base::Result<std::shared_ptr<HelperProcess>> start(std::shared_ptr<EventLoop> loop,
                                                              const std::string &program,
                                                              const control::Message &order,
                                                              std::span<const int> fds);
    ~HelperProcess();

    /// From now on `listener` is told. Not from the event thread.
    void listen(HelperListener listener);
    /// The same at once: somebody else cares for it now. On the event thread.
    void listenNow(HelperListener listener) { listener_ = std::move(listener); }
    /// Let it live on without us: its connection is closed, and nobody ends or collects it.
    void leave();
    const Process &process() const { return process_; }
    /// On the event thread.
    void send(const control::Message &message);
    /// End it, if it has not ended by itself, and collect it. Blocks shortly; idempotent.
    void end();
    /// The same on a thread of its own: its exit takes milliseconds.
    void endAside();
    /// End it at once, unless it has said its last word and is leaving anyway.
    void kill() const;

private:
    HelperProcess(std::shared_ptr<EventLoop> loop, base::UniqueFd control, base::UniqueFd output, Process process);
    void read();
    void take(const control::Message &message);
    void lose();
    /// Why it ended, in words; collects it.
    std::string lastWords();

    std::shared_ptr<EventLoop> loop_;
    base::UniqueFd control_;
    base::UniqueFd output_;   ///< what it wrote to its standard output and error
    Process process_;
    std::mutex reapMutex_;
    bool reaped_ = false;
    std::atomic<bool> leaving_{false};   ///< Done or Failed has come
    int exitStatus_ = -1;     ///< as waitpid() gives it; -1: unknown
    HelperListener listener_;
    Watch input_;
};

} // namespace godwit::hypervisor::machine
