// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/domain/fake_world.h"

#include <cstdlib>
#include <fcntl.h>
#include <future>

namespace godwit::tests {

using base::Result;
using hypervisor::GuestListener;
using hypervisor::StopCause;
using hypervisor::TransferProgress;

// ---- FakeMachine --------------------------------------------------------------------

FakeMachine::FakeMachine(unsigned id_, std::string name_, std::string runDir_)
    : id(id_), name(std::move(name_)), runDir(std::move(runDir_)), memory_("memory of " + name),
      console_(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC))
{
    char path[64];
    if (console_ && grantpt(console_.get()) == 0 && unlockpt(console_.get()) == 0 &&
        ptsname_r(console_.get(), path, sizeof path) == 0)
        consolePath_ = path;
}

bool FakeMachine::alive() const
{
    std::lock_guard lock(mutex_);
    return alive_;
}

bool FakeMachine::running() const
{
    std::lock_guard lock(mutex_);
    return running_;
}

std::string FakeMachine::memory() const
{
    std::lock_guard lock(mutex_);
    return memory_;
}

void FakeMachine::setMemory(std::string memory)
{
    std::lock_guard lock(mutex_);
    memory_ = std::move(memory);
}

uint64_t FakeMachine::balloonKib() const
{
    std::lock_guard lock(mutex_);
    return balloonKib_;
}

hypervisor::TransferLimits FakeMachine::limits() const
{
    std::lock_guard lock(mutex_);
    return limits_;
}

void FakeMachine::tell(Telling telling)
{
    std::function<void(Telling)> watcher;
    {
        std::lock_guard lock(mutex_);
        watcher = watcher_;
    }
    if (watcher)
        watcher(std::move(telling));
}

void FakeMachine::crash()
{
    {
        std::lock_guard lock(mutex_);
        alive_ = running_ = false;
    }
    tell([](GuestListener &listener) { listener.guestDied(hypervisor::DeathCause::Crashed); });
}

void FakeMachine::powerOff()
{
    {
        std::lock_guard lock(mutex_);
        alive_ = running_ = false;
    }
    tell([](GuestListener &listener) {
        listener.guestShuttingDown();
        listener.guestDied(hypervisor::DeathCause::PoweredOff);
    });
}

void FakeMachine::reset()
{
    tell([](GuestListener &listener) { listener.guestReset(); });
}

void FakeMachine::stop(StopCause cause)
{
    {
        std::lock_guard lock(mutex_);
        running_ = false;
    }
    tell([cause](GuestListener &listener) { listener.guestPaused(cause); });
}

void FakeMachine::fillDisk(const std::string &alias)
{
    tell([alias](GuestListener &listener) { listener.ioError(alias, true, "enospc"); });
    stop(StopCause::IoError);
}

// ---- FakeWorld ----------------------------------------------------------------------

FakeWorld &FakeWorld::get()
{
    static FakeWorld world;
    return world;
}

void FakeWorld::reset()
{
    std::lock_guard lock(mutex_);
    machines_.clear();
    failures_.clear();
    counts_.clear();
    held_.reset();
    changed_.notify_all();
}

std::shared_ptr<FakeMachine> FakeWorld::machine(const std::string &root, const std::string &name)
{
    std::lock_guard lock(mutex_);
    std::shared_ptr<FakeMachine> found;
    for (const auto &machine : machines_) {
        if (machine->name == name && machine->runDir.starts_with(root))
            found = machine;
    }
    return found;
}

size_t FakeWorld::aliveCount()
{
    std::lock_guard lock(mutex_);
    size_t count = 0;
    for (const auto &machine : machines_)
        count += machine->alive();
    return count;
}

void FakeWorld::failNext(const std::string &step, base::Error error)
{
    std::lock_guard lock(mutex_);
    failures_[step] = std::move(error);
}

unsigned FakeWorld::count(const std::string &step)
{
    std::lock_guard lock(mutex_);
    return counts_[step];
}

void FakeWorld::drain()
{
    std::vector<std::shared_ptr<FakeMachine>> machines;
    {
        std::lock_guard lock(mutex_);
        machines = machines_;
    }
    for (const auto &machine : machines) {
        auto told = std::make_shared<std::promise<void>>();
        auto future = told->get_future();
        // Where nobody listens any more, the promise is broken at once.
        machine->tell([told = std::move(told)](GuestListener &) { told->set_value(); });
        future.wait();
    }
}

void FakeWorld::holdSaves(TransferProgress progress)
{
    std::lock_guard lock(mutex_);
    held_ = std::move(progress);
}

void FakeWorld::releaseSaves()
{
    std::lock_guard lock(mutex_);
    held_.reset();
    changed_.notify_all();
}

bool FakeWorld::waitForHeldSave()
{
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::minutes(1), [this] { return heldNow_ > 0; });
}

Result<void> FakeWorld::step(const std::string &name)
{
    std::lock_guard lock(mutex_);
    counts_[name]++;
    if (auto failure = failures_.extract(name))
        return std::move(failure.mapped());
    return {};
}

std::shared_ptr<FakeMachine> FakeWorld::start(const std::string &name, const std::string &runDir)
{
    std::lock_guard lock(mutex_);
    machines_.push_back(std::make_shared<FakeMachine>(++lastId_, name, runDir));
    return machines_.back();
}

std::shared_ptr<FakeMachine> FakeWorld::byId(unsigned id)
{
    std::lock_guard lock(mutex_);
    for (const auto &machine : machines_) {
        if (machine->id == id)
            return machine;
    }
    return nullptr;
}

} // namespace godwit::tests
