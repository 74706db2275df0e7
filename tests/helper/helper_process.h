// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// Runs the real godwit-helper and plays the driver to it.

#include "base/unique_fd.h"
#include "control/connection.h"

#include <chrono>
#include <functional>
#include <string>
#include <sys/types.h>

namespace godwit::tests {

inline const std::string testState = "QEVM: the device state of a test";
inline const std::string testSecret(64, 'c');

/// One helper; killed by the destructor if it still runs.
class HelperProcess
{
public:
    HelperProcess();
    HelperProcess(const HelperProcess &) = delete;
    HelperProcess &operator=(const HelperProcess &) = delete;
    ~HelperProcess();

    /// Ask for an operation. The device-state pipe is made here.
    void save(control::Save request, int ramFd, int streamFd, const std::vector<base::UniqueFd> &further = {});
    void restore(control::Restore request, int ramFd, int streamFd);
    void relay(const control::Relay &request, int pipeFd, int streamFd, const std::vector<base::UniqueFd> &further = {});

    /// Answer messages until Done or Failed (returned), or the helper's silent end (Failed
    /// with an empty message).
    control::Message run();
    /// Take messages until one of this type has come; false when the helper ended before.
    template <typename T>
    bool runUntil()
    {
        return runUntil([](const control::Message &message) { return std::holds_alternative<T>(message); });
    }
    bool runUntil(const std::function<bool(const control::Message &)> &stop);

    void send(const control::Message &message) { (void)control::send(control_.get(), message).has_value(); }
    void closeControl() { control_.reset(); }
    void kill();
    /// The exit status, or -signal.
    int wait();
    pid_t pid() const { return pid_; }

    // What the driver and QEMU do:
    std::function<void()> onSuspend;          ///< stop the guest
    std::string stateToWrite = testState;     ///< what QEMU writes when it is suspended
    control::StateLoaded loadAnswer{true, ""};
    std::string stateRead;                    ///< what QEMU got to load
    control::Progress lastProgress;
    unsigned progressMessages = 0;

private:
    void handle(const control::Message &message);
    bool leaving_ = false;   ///< Done or Failed has come

    base::UniqueFd control_;
    base::UniqueFd stateWrite_, stateRead_;
    pid_t pid_ = -1;
};

/// A connected pair of TCP sockets on the loopback interface: source's end, destination's.
std::pair<base::UniqueFd, base::UniqueFd> makeTcpPair();
/// A listening TCP socket and its port.
std::pair<base::UniqueFd, uint16_t> makeListener();
base::UniqueFd connectTo(uint16_t port);

/// Why the helper says that it failed; "" when it does not.
std::string failureOf(const control::Message &message);

/// The only region of a RAM file of so many pages.
std::vector<control::Region> oneRegion(uint64_t pages);

} // namespace godwit::tests
