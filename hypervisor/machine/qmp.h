// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// The connection to one QEMU's monitor (QMP).
//
//   state      meaning                                   leaves it when
//   Greeting   connected, QEMU has not spoken yet        its greeting came: we negotiate
//   Negotiate  qmp_capabilities was sent                 it was answered: Ready
//   Ready      commands and events flow                  the connection or the protocol breaks
//   Closed     every call fails at once, naming why      never
//
// Everything but call() happens on the event thread.

#include "base/result.h"
#include "base/unique_fd.h"
#include "hypervisor/machine/event_loop.h"
#include "hypervisor/machine/json.h"

#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <string>

namespace godwit::hypervisor::machine {

/// What a connection tells, on the event thread.
struct QmpListener {
    std::function<void(const std::string &name, const Json &data)> event;
    std::function<void(const base::Error &why)> closed;   ///< once, last
};

class Qmp : public std::enable_shared_from_this<Qmp>
{
public:
    using Answer = std::function<void(base::Result<Json>)>;

    static constexpr size_t maxLine = 16 * 1024 * 1024;
    static constexpr size_t maxPending = 4096;

    /// Take over a connected socket, and wait until QEMU is ready for commands. `name` is
    /// the guest's, for messages. Not from the event thread.
    static base::Result<std::shared_ptr<Qmp>> open(std::shared_ptr<EventLoop> loop, base::UniqueFd socket,
                                                   std::string name, QmpListener listener,
                                                   std::chrono::milliseconds timeout);
    ~Qmp();

    /// Run a command and wait for its answer; `fd` (borrowed) travels with it. Not from the
    /// event thread.
    base::Result<Json> call(const char *command, Json arguments = {}, int fd = -1,
                            std::chrono::milliseconds timeout = std::chrono::seconds(30));
    /// Run a command from the event thread.
    void submit(const char *command, Json arguments, Answer answer, base::UniqueFd fd = {});
    /// Handle what QEMU has sent already (before a dead process is reported). Event thread.
    void drain();
    /// Let go of the connection; nothing is told any more. From any thread.
    void detach();

private:
    enum class State { Greeting, Negotiate, Ready, Closed };
    struct Outgoing {
        std::string text;
        base::UniqueFd fd;
        size_t sent = 0;
    };

    Qmp(std::shared_ptr<EventLoop> loop, base::UniqueFd socket, std::string name, QmpListener listener);
    void start(Answer ready);
    void armInput();
    void armOutput();
    /// False when nothing more can be read now.
    bool readSome();
    void writeSome();
    void takeLine(std::string_view line);
    void takeAnswer(const Json &message);
    void negotiate();
    void send(const char *command, const Json &arguments, Answer answer, base::UniqueFd fd);
    void close(base::Error why);

    std::shared_ptr<EventLoop> loop_;
    base::UniqueFd socket_;
    std::string name_;
    QmpListener listener_;
    State state_ = State::Greeting;
    base::Error closedWhy_;
    Watch input_, output_;
    std::string received_;
    size_t scanned_ = 0;   ///< of received_, known to hold no newline
    std::deque<Outgoing> outgoing_;
    std::map<int64_t, Answer> pending_;
    int64_t lastId_ = 0;
    Answer ready_;
};

} // namespace godwit::hypervisor::machine
