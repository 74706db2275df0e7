// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// A hypervisor without guests, for tests of everything above the interface. It stands in
// for the machine hypervisor by defining makeMachine(), so a test program has either.
//
// What a real guest's process is, a FakeMachine is here: it outlives the Host that started
// it, may be crashed by a test, and is found again by adopt(). Its memory is a string.

#include "hypervisor/hypervisor.h"

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <optional>

namespace godwit::tests {

class FakeGuest;
class FakeHypervisor;
class FakeWorld;

/// The simulated process of one guest. Thread-safe.
class FakeMachine
{
public:
    FakeMachine(unsigned id, std::string name, std::string runDir);

    const unsigned id;
    const std::string name;
    const std::string runDir;

    bool alive() const;
    bool running() const;
    std::string memory() const;
    void setMemory(std::string memory);
    uint64_t balloonKib() const;
    hypervisor::TransferLimits limits() const;
    /// What a terminal on the guest's serial port reads and writes.
    int console() const { return console_.get(); }

    // Things that a guest, or somebody with a kill command, does.
    void crash();
    void powerOff();
    void reset();
    void stop(hypervisor::StopCause cause);
    void fillDisk(const std::string &alias);   ///< an I/O error that stops the guest

private:
    friend class FakeGuest;
    friend class FakeHypervisor;
    friend class FakeWorld;
    using Telling = std::function<void(hypervisor::GuestListener &)>;
    void tell(Telling telling);

    mutable std::mutex mutex_;
    std::function<void(Telling)> watcher_;   ///< tells the listener on the Host's event thread
    bool alive_ = true;
    bool running_ = false;
    std::string memory_;
    uint64_t balloonKib_ = 0;
    hypervisor::TransferLimits limits_;
    base::UniqueFd console_;
    std::string consolePath_;
};

/// The whole process's fakes, and what is to go wrong with them. Reset between tests.
class FakeWorld
{
public:
    static FakeWorld &get();
    void reset();

    /// The newest machine that a Host below `root` started for the domain `name`.
    std::shared_ptr<FakeMachine> machine(const std::string &root, const std::string &name);
    size_t aliveCount();

    /// The next `step` fails: "create", "receive", "unpause", "pause", "save", "finish",
    /// "destroy", "resume", "balloon", "describe", "adopt", "live" (of a host that cannot send guests while they run).
    void failNext(const std::string &step, base::Error error);
    /// How often `step` was taken.
    unsigned count(const std::string &step);

    /// Everything that machines have told is with their listeners.
    void drain();

    /// Saves wait, having reported `progress`, until releaseSaves() or an abort.
    void holdSaves(hypervisor::TransferProgress progress);
    void releaseSaves();
    /// Wait until a save is held.
    bool waitForHeldSave();

private:
    friend class FakeGuest;
    friend class FakeHypervisor;
    base::Result<void> step(const std::string &name);
    std::shared_ptr<FakeMachine> start(const std::string &name, const std::string &runDir);
    std::shared_ptr<FakeMachine> byId(unsigned id);

    std::mutex mutex_;
    std::condition_variable changed_;
    unsigned lastId_ = 0;
    std::vector<std::shared_ptr<FakeMachine>> machines_;
    std::map<std::string, base::Error> failures_;
    std::map<std::string, unsigned> counts_;
    std::optional<hypervisor::TransferProgress> held_;
    unsigned heldNow_ = 0;
};

} // namespace godwit::tests
