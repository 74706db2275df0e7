// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// One Host as the machine hypervisor sees it: an event thread, a directory, guests.

#include "hypervisor/machine/machine.h"
#include "tests/hypervisor/definition.h"

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace godwit::hypervisor::machine {

/// Writes down what a guest tells, one word each, and lets a test wait for it.
class Journal : public GuestListener
{
public:
    void guestPaused(StopCause cause) override;
    void guestRunning() override { write("running"); }
    void guestReset() override { write("reset"); }
    void guestShuttingDown() override { write("shutting-down"); }
    void guestDied(DeathCause cause) override;
    void balloonChanged(uint64_t) override { write("balloon"); }
    void ioError(const std::string &alias, bool, const std::string &) override { write("io-error " + alias); }
    void watchdogFired(const std::string &action) override { write("watchdog " + action); }
    void clockChanged(int64_t) override { write("clock"); }
    void trayMoved(const std::string &alias, bool) override { write("tray " + alias); }
    void channelStateChanged(const std::string &alias, bool open) override;
    void imageError(const std::string &, const std::string &) override { write("image-error"); }
    void memoryComplete() override { write("memory-complete"); }

    /// Whether `entry` was told within a minute.
    bool waitFor(const std::string &entry);
    size_t count(const std::string &entry);
    std::vector<std::string> entries();

private:
    void write(const std::string &entry);

    std::mutex mutex_;
    std::condition_variable grown_;
    std::vector<std::string> entries_;
};

/// A GMainContext that a thread of its own runs, as libvirt's virEventThread does.
class EventThread
{
public:
    EventThread();
    ~EventThread();
    GMainContext *context() { return context_; }

private:
    GMainContext *context_;
    GMainLoop *loop_;
    std::thread thread_;
};

/// What the test guest does: a boot sector of a few instructions.
enum class Program {
    Count,      ///< writes 16-bit numbers, each one more, to the first serial port
    PowerOff,   ///< by ACPI, at once
    Reset,
    Halt,
};

class MachineHost
{
public:
    MachineHost();
    ~MachineHost();
    MachineHost(const MachineHost &) = delete;
    MachineHost &operator=(const MachineHost &) = delete;

    /// Replaces the hypervisor by a new one, as a restarted daemon would have it.
    void restart();
    Hypervisor &hypervisor() { return *hypervisor_; }
    const std::string &dir() const { return dir_; }
    void setHelper(const std::string &path);

    /// A definition whose disk holds `program` and whose serial port goes to serialPath().
    conf::DomainDef define(const std::string &name, Program program, const std::string &devices = "");
    std::string serialPath(const std::string &name) const { return dir_ + "/" + name + ".serial"; }
    CreateRequest request(const std::string &name, virDomainDef *def, std::shared_ptr<Journal> journal);
    std::shared_ptr<Guest> create(const std::string &name, virDomainDef *def, std::shared_ptr<Journal> journal);

    /// The numbers that a counting guest wrote so far.
    std::vector<uint16_t> numbers(const std::string &name) const;
    /// Wait until it has written `more` numbers more.
    bool countsOn(const std::string &name, size_t more = 3) const;

private:
    void open();

    std::string dir_;
    std::string helper_;
    std::unique_ptr<EventThread> thread_;
    std::unique_ptr<Hypervisor> hypervisor_;
};

/// Wait for something, a minute at most.
bool eventually(const std::function<bool()> &condition);
bool processExists(pid_t pid);

} // namespace godwit::hypervisor::machine
