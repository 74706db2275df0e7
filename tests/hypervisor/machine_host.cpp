// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/hypervisor/machine_host.h"

#include "base/strprintf.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>

namespace godwit::hypervisor::machine {

using base::strprintf;
namespace fs = std::filesystem;

static constexpr auto patience = std::chrono::minutes(1);

bool eventually(const std::function<bool()> &condition)
{
    const auto deadline = std::chrono::steady_clock::now() + patience;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > deadline)
            return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return true;
}

/// A zombie that nobody has collected yet is gone, for our purposes.
bool processExists(pid_t pid)
{
    std::string line;
    std::getline(std::ifstream(strprintf("/proc/%d/stat", static_cast<int>(pid))), line);
    const size_t name = line.rfind(") ");
    return name != std::string::npos && line[name + 2] != 'Z' && line[name + 2] != 'X';
}

// ---- Journal ---------------------------------------------------------------------------

void Journal::write(const std::string &entry)
{
    std::lock_guard lock(mutex_);
    entries_.push_back(entry);
    grown_.notify_all();
}

void Journal::guestPaused(StopCause cause)
{
    static const char *names[] = {"unknown", "user", "saving", "migrating", "io-error", "watchdog", "panicked",
                                  "shutting-down", "rebooting"};
    write(std::string("paused ") + names[static_cast<size_t>(cause)]);
}

void Journal::guestDied(DeathCause cause)
{
    static const char *names[] = {"powered-off", "destroyed", "crashed", "failed"};
    write(std::string("died ") + names[static_cast<size_t>(cause)]);
}

void Journal::channelStateChanged(const std::string &alias, bool open)
{
    write("channel " + alias + (open ? " open" : " closed"));
}

bool Journal::waitFor(const std::string &entry)
{
    std::unique_lock lock(mutex_);
    return grown_.wait_for(lock, patience,
                           [&] { return std::find(entries_.begin(), entries_.end(), entry) != entries_.end(); });
}

size_t Journal::count(const std::string &entry)
{
    std::lock_guard lock(mutex_);
    return static_cast<size_t>(std::count(entries_.begin(), entries_.end(), entry));
}

std::vector<std::string> Journal::entries()
{
    std::lock_guard lock(mutex_);
    return entries_;
}

// ---- EventThread -----------------------------------------------------------------------

EventThread::EventThread()
    : context_(g_main_context_new()), loop_(g_main_loop_new(context_, false)),
      thread_([this] {
          g_main_context_push_thread_default(context_);
          g_main_loop_run(loop_);
          g_main_context_pop_thread_default(context_);
      })
{
}

EventThread::~EventThread()
{
    // The loop may not have begun yet: only once it runs can it be told to stop.
    eventually([this] { return g_main_loop_is_running(loop_) != 0; });
    g_main_loop_quit(loop_);
    thread_.join();
    g_main_loop_unref(loop_);
    g_main_context_unref(context_);
}

// ---- MachineHost -----------------------------------------------------------------------

static std::string bootSector(Program program)
{
    std::string code;
    switch (program) {
    case Program::Count:
        code = std::string("\xfa\x31\xc0\x8e\xd8"           // cli; xor ax,ax; mov ds,ax
                           "\xc7\x06\x00\x80\x00\x00"       // mov word [0x8000],0
                           "\xff\x06\x00\x80"               // inc word [0x8000]
                           "\xa1\x00\x80"                   // mov ax,[0x8000]
                           "\xba\xf8\x03\xee"               // mov dx,0x3f8; out dx,al
                           "\x88\xe0\xee"                   // mov al,ah; out dx,al
                           "\xb9\xff\xff\xe2\xfe"           // mov cx,0xffff; loop $
                           "\xeb\xeb", 32);                 // jmp to the inc
        break;
    case Program::PowerOff:
        code = std::string("\xba\x04\x06\xb8\x00\x20\xef\xf4", 8);   // PM1a control: S5
        break;
    case Program::Reset:
        code = std::string("\xba\xf9\x0c\xb0\x06\xee\xf4", 7);       // port 0xcf9
        break;
    case Program::Halt: code = "\xfa\xf4"; break;
    }
    std::string sector(1 << 20, '\0');
    sector.replace(0, code.size(), code);
    sector[510] = '\x55';
    sector[511] = '\xaa';
    return sector;
}

MachineHost::MachineHost() : helper_(GODWIT_TEST_HELPER)
{
    char path[] = "/tmp/godwit-machine-XXXXXX";
    dir_ = mkdtemp(path);
    open();
}

MachineHost::~MachineHost()
{
    hypervisor_.reset();
    thread_.reset();
    fs::remove_all(dir_);
}

void MachineHost::open()
{
    thread_ = std::make_unique<EventThread>();
    MachineSettings settings;
    settings.helper = helper_;
    settings.agent = GODWIT_TEST_AGENT;
    settings.launcher = GODWIT_TEST_LAUNCHER;
    settings.privileged = false;
    settings.eventContext = thread_->context();
    hypervisor_ = makeMachine(std::move(settings));
}

void MachineHost::restart()
{
    hypervisor_.reset();
    thread_.reset();
    open();
}

void MachineHost::setHelper(const std::string &path)
{
    helper_ = path;
    restart();
}

conf::DomainDef MachineHost::define(const std::string &name, Program program, const std::string &devices)
{
    const std::string disk = dir_ + "/" + name + ".img";
    std::ofstream(disk) << bootSector(program);
    const std::string xml = strprintf(
        "<domain type='qemu'><name>%s</name><memory unit='MiB'>32</memory>"
        "<os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features><devices>"
        "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='%s'/>"
        "<target dev='hda' bus='ide'/></disk>"
        "<serial type='file'><source path='%s'/><target port='0'/></serial>%s</devices></domain>",
        name.c_str(), disk.c_str(), serialPath(name).c_str(), devices.c_str());
    auto def = parseDomain(xml);
    EXPECT_TRUE(def) << (def ? "" : def.error().message);
    if (!def)
        return nullptr;
    EXPECT_TRUE(hypervisor_->assignAliases(def->get()));
    return std::move(*def);
}

CreateRequest MachineHost::request(const std::string &name, virDomainDef *def, std::shared_ptr<Journal> journal)
{
    CreateRequest request;
    request.def = def;
    request.runDir = dir_ + "/" + name;
    request.logPath = dir_ + "/" + name + ".log";
    request.listener = std::move(journal);
    fs::create_directories(request.runDir);
    return request;
}

std::shared_ptr<Guest> MachineHost::create(const std::string &name, virDomainDef *def, std::shared_ptr<Journal> journal)
{
    auto guest = hypervisor_->create(request(name, def, std::move(journal)));
    EXPECT_TRUE(guest) << (guest ? "" : guest.error().message);
    return guest ? *guest : nullptr;
}

std::vector<uint16_t> MachineHost::numbers(const std::string &name) const
{
    const std::string text = readText(serialPath(name));
    // SeaBIOS says nothing here: it has no serial console.
    std::vector<uint16_t> numbers(text.size() / 2);
    if (!numbers.empty())
        memcpy(numbers.data(), text.data(), numbers.size() * 2);
    return numbers;
}

bool MachineHost::countsOn(const std::string &name, size_t more) const
{
    const size_t before = numbers(name).size();
    return eventually([&] { return numbers(name).size() >= before + more; });
}

} // namespace godwit::hypervisor::machine
