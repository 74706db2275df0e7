// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Stock QEMU is asked: does it take the command lines we write, and does it put the RAM
// where memoryLayout() says? Guests are started stopped, and never run.
#include "base/strprintf.h"
#include "base/unique_fd.h"
#include "hypervisor/machine/definition.h"
#include "hypervisor/machine/memory_layout.h"
#include "tests/hypervisor/definition.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <poll.h>
#include <sstream>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

namespace godwit::hypervisor::machine {
namespace {

using base::strprintf;
using base::UniqueFd;
namespace fs = std::filesystem;

/// A directory that stands in for /srv/guests, with all that the golden domains name.
class GuestFiles
{
public:
    GuestFiles()
    {
        char path[] = "/tmp/godwit-qemu-test-XXXXXX";
        path_ = mkdtemp(path);
        for (const char *name : {"data.raw", "one.raw", "two.raw", "three, with=signs.raw", "four.raw", "five.raw",
                                 "cdrom.iso", "initrd.img"})
            write(name, std::string(1 << 20, '\0'));
        write("vmlinuz", kernelImage());
        write("kernel, new", kernelImage());
        write("disk.qcow2", qcow2Image());
    }
    ~GuestFiles() { fs::remove_all(path_); }
    GuestFiles(const GuestFiles &) = delete;
    GuestFiles &operator=(const GuestFiles &) = delete;
    const std::string &path() const { return path_; }

private:
    void write(const char *name, const std::string &content) { std::ofstream(path_ + "/" + name) << content; }

    /// What QEMU looks at in a bzImage: the boot sector's end, and protocol 2.12.
    static std::string kernelImage()
    {
        std::string image(65536, '\0');
        image[0x1f1] = 4;
        image.replace(0x202, 6, "HdrS\x0c\x02");
        image[0x211] = 1;   // loaded high
        image.replace(0x22c, 4, "\xff\xff\xff\x37");   // the initrd's last address
        return image;
    }

    /// An empty qcow2 of 1 MiB, version 2: header, L1 table, refcounts.
    static std::string qcow2Image()
    {
        std::string image(4 * 65536, '\0');
        const auto put = [&](size_t at, uint64_t value, size_t bytes) {
            for (size_t i = 0; i < bytes; i++)
                image[at + i] = static_cast<char>(value >> (8 * (bytes - 1 - i)));
        };
        put(0, 0x514649fb, 4);
        put(4, 2, 4);
        put(20, 16, 4);            // cluster bits
        put(24, 1 << 20, 8);       // size
        put(36, 1, 4);             // L1 entries
        put(40, 3 * 65536, 8);     // L1 table
        put(48, 65536, 8);         // refcount table
        put(56, 1, 4);
        put(65536, 2 * 65536, 8);  // its first block
        for (size_t cluster = 0; cluster < 4; cluster++)
            put(2 * 65536 + 2 * cluster, 1, 2);
        return image;
    }

    std::string path_;
};

/// One QEMU, started stopped, and its monitor.
class Qemu
{
public:
    ~Qemu()
    {
        if (pid_ <= 0)
            return;
        (void)kill(pid_, SIGKILL);
        (void)waitpid(pid_, nullptr, 0);
    }

    /// The error QEMU gave, or nothing.
    std::string start(virDomainDef *def, const std::string &runDir)
    {
        ram_.reset(memfd_create("ram", MFD_CLOEXEC));
        if (ftruncate(ram_.get(), static_cast<off_t>(virDomainDefGetMemoryInitial(def) * 1024)) < 0)
            return "no RAM file";
        const std::string socketPath = runDir + "/monitor";
        UniqueFd listener = listenOn(socketPath);
        CommandLineInputs inputs = sampleInputs(def);
        inputs.runDir = runDir;
        inputs.ramFd = ram_.get();
        inputs.monitorFd = listener.get();
        inputs.tapFds.clear();   // user networking stands in for tap devices
        auto line = buildCommandLine(def, inputs);
        if (!line)
            return line.error().message;
        spawn(*line, runDir + "/stderr");
        listener.reset();
        return connectTo(socketPath, runDir + "/stderr");
    }

    /// Run a monitor command for people and return its text, JSON-escaped.
    std::string ask(const char *command)
    {
        return call(strprintf("{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"%s\"}}", command));
    }

    /// Ends it; its exit status.
    int quit()
    {
        (void)call("{\"execute\":\"quit\"}");
        int status = -1;
        (void)waitpid(std::exchange(pid_, -1), &status, 0);
        return status;
    }

private:
    static sockaddr_un address(const std::string &path)
    {
        sockaddr_un out{};
        out.sun_family = AF_UNIX;
        path.copy(out.sun_path, sizeof out.sun_path - 1);
        return out;
    }

    static UniqueFd listenOn(const std::string &path)
    {
        (void)unlink(path.c_str());
        UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        const sockaddr_un where = address(path);
        EXPECT_EQ(bind(fd.get(), reinterpret_cast<const sockaddr *>(&where), sizeof where), 0);
        EXPECT_EQ(listen(fd.get(), 1), 0);
        return fd;
    }

    void spawn(CommandLine line, const std::string &log)
    {
        std::vector<char *> arguments;
        for (std::string &argument : line.arguments) {
            // Any port will do here; the named one may be another's.
            if (argument.starts_with("127.0.0.1:"))
                argument += ",to=500";
            arguments.push_back(argument.data());
        }
        arguments.push_back(nullptr);
        pid_ = fork();
        if (pid_ != 0)
            return;
        for (const int fd : line.fds)
            (void)fcntl(fd, F_SETFD, 0);
        const int out = open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
        (void)dup2(out, 1);
        (void)dup2(out, 2);
        execv(arguments[0], arguments.data());
        _exit(127);
    }

    std::string connectTo(const std::string &path, const std::string &log)
    {
        monitor_.reset(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        const sockaddr_un where = address(path);
        if (connect(monitor_.get(), reinterpret_cast<const sockaddr *>(&where), sizeof where) < 0)
            return "cannot connect: " + readText(log);
        if (readLine().find("\"QMP\"") == std::string::npos)
            return readText(log) + " (no greeting)";
        (void)call("{\"execute\":\"qmp_capabilities\"}");
        return "";
    }

    std::string call(const std::string &command)
    {
        const std::string line = command + "\r\n";
        if (send(monitor_.get(), line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size()))
            return "";
        for (;;) {
            std::string answer = readLine();
            if (answer.empty() || answer.find("\"event\"") == std::string::npos)
                return answer;
        }
    }

    std::string readLine()
    {
        for (;;) {
            const size_t end = received_.find('\n');
            if (end != std::string::npos) {
                std::string line = received_.substr(0, end);
                received_.erase(0, end + 1);
                return line;
            }
            pollfd waiting{monitor_.get(), POLLIN, 0};
            std::array<char, 65536> chunk;
            if (poll(&waiting, 1, 120000) <= 0)
                return "";
            const ssize_t got = read(monitor_.get(), chunk.data(), chunk.size());
            if (got <= 0)
                return "";
            received_.append(chunk.data(), static_cast<size_t>(got));
        }
    }

    pid_t pid_ = -1;
    UniqueFd ram_, monitor_;
    std::string received_;
};

std::string replaceAll(std::string text, const std::string &from, const std::string &to)
{
    for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
        text.replace(at, from.size(), to);
    return text;
}

/// What QEMU said, without the names of ptys.
std::string complaints(const std::string &said)
{
    std::istringstream lines(said);
    std::string out;
    for (std::string line; std::getline(lines, line);) {
        const bool news = line.find("char device redirected to") != std::string::npos ||
                          line.starts_with("VNC server running on");
        if (!news)
            out += line + "\n";
    }
    return out;
}

class TakenByQemu : public testing::TestWithParam<std::string>
{
};

TEST_P(TakenByQemu, WithoutAWord)
{
    const GuestFiles files;
    const std::string xml = readText(std::string(GODWIT_GOLDEN) + "/" + GetParam() + ".xml");
    auto def = parseDomain(replaceAll(xml, "/srv/guests", files.path()));
    ASSERT_TRUE(def) << def.error().message;
    ASSERT_TRUE(assignAliases(def->get()));
    Qemu qemu;
    ASSERT_EQ(qemu.start(def->get(), files.path()), "");
    EXPECT_NE(qemu.ask("info status").find("prelaunch"), std::string::npos);
    EXPECT_EQ(qemu.quit(), 0);
    EXPECT_EQ(complaints(readText(files.path() + "/stderr")), "");
}

/// Those that need nothing of the host that a build machine has not: a KVM that works, a
/// block device.
std::vector<std::string> takableNames()
{
    std::vector<std::string> names;
    for (const auto &entry : fs::directory_iterator(GODWIT_GOLDEN)) {
        const std::string name = entry.path().stem();
        if (entry.path().extension() == ".xml" && name != "kvm" && name != "block-device")
            names.push_back(name);
    }
    std::sort(names.begin(), names.end());
    return names;
}

INSTANTIATE_TEST_SUITE_P(Golden, TakenByQemu, testing::ValuesIn(takableNames()),
                         [](const auto &test) { return replaceAll(test.param, "-", "_"); });

/// A piece of RAM as QEMU says it stands in the guest.
struct Piece {
    uint64_t first, last, offset;
};

/// From `info mtree -f`, the pieces of ram0 in the CPU's flat view of memory.
std::vector<Piece> ramPieces(const std::string &answer)
{
    std::istringstream lines(replaceAll(replaceAll(answer, "\\r", ""), "\\n", "\n"));
    std::vector<Piece> pieces;
    bool wanted = false;
    for (std::string line; std::getline(lines, line);) {
        if (line.find("FlatView #") != std::string::npos)
            wanted = false;
        if (line.find("AS \\\"memory\\\"") != std::string::npos)
            wanted = true;
        if (!wanted || line.find(": ram0") == std::string::npos)
            continue;
        Piece piece{};
        if (sscanf(line.c_str(), " %lx-%lx", &piece.first, &piece.last) != 2)
            continue;
        const size_t at = line.find(" @");
        if (at != std::string::npos)
            piece.offset = std::stoull(line.substr(at + 2), nullptr, 16);
        pieces.push_back(piece);
    }
    return pieces;
}

struct Size {
    const char *machine;
    unsigned mib;
};

void PrintTo(const Size &size, std::ostream *out)
{
    *out << size.machine << " with " << size.mib << " MiB";
}

class Ram : public testing::TestWithParam<Size>
{
};

TEST_P(Ram, StandsInTheGuestWhereTheLayoutSays)
{
    const GuestFiles files;
    const std::string memory = strprintf("<memory unit='MiB'>%u</memory>", GetParam().mib);
    auto def = parseDomain(replaceAll(sampleDomain({.machine = GetParam().machine}), "<memory unit='MiB'>64</memory>", memory));
    ASSERT_TRUE(def) << def.error().message;
    ASSERT_TRUE(assignAliases(def->get()));
    Qemu qemu;
    ASSERT_EQ(qemu.start(def->get(), files.path()), "");
    const auto pieces = ramPieces(qemu.ask("info mtree -f"));
    ASSERT_FALSE(pieces.empty());
    const auto layout = memoryLayout(uint64_t{GetParam().mib} << 20);
    uint64_t highest = 0;
    for (const Piece &piece : pieces) {
        const auto region = std::find_if(layout.begin(), layout.end(), [&](const control::Region &candidate) {
            return piece.first >= candidate.firstPfn << 12 && piece.last < (candidate.firstPfn + candidate.pages) << 12;
        });
        ASSERT_NE(region, layout.end()) << std::hex << piece.first;
        EXPECT_EQ(piece.offset, piece.first - (region->firstPfn << 12) + region->ramOffset) << std::hex << piece.first;
        highest = std::max(highest, piece.last + 1);
    }
    EXPECT_EQ(highest, (layout.back().firstPfn + layout.back().pages) << 12);
    EXPECT_EQ(qemu.quit(), 0);
}

INSTANTIATE_TEST_SUITE_P(Sizes, Ram, testing::Values(
    Size{"pc", 64}, Size{"pc", 1024}, Size{"pc", 2048}, Size{"pc", 2049}, Size{"pc", 3072}, Size{"pc", 3584},
    Size{"pc", 6144}, Size{"q35", 64}, Size{"q35", 1024}, Size{"q35", 2048}, Size{"q35", 2049}, Size{"q35", 3072},
    Size{"q35", 3584}, Size{"q35", 6144}));

} // namespace
} // namespace godwit::hypervisor::machine
