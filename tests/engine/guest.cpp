// SPDX-License-Identifier: LGPL-2.1-or-later
// A guest for tests: a process that maps a RAM file as QEMU does and keeps writing to it.
//
//   test-guest RAM_FD MODE FIRST_PAGE PAGES [FILE]
//
// MODE is idle, write (one word in each page, round and round), rewrite (as write, and
// zeroes every third page), direct (fills each page once, by O_DIRECT reads of FILE). Prints "r" when it is mapped and
// running ("e" when the agent has left something in the environment); stops its vCPU thread and prints "s" when it reads "s", starts it again and prints
// "c" on "c", prints "w" on "w" once it has written to each of its pages since, and ends at the end of its input.

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <mutex>
#include <string>
#include <sys/mman.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

namespace {

constexpr size_t pageSize = 4096;
constexpr size_t directPages = 16;
constexpr size_t directChunk = directPages * pageSize;

std::mutex running;              // held by whoever may go on: the vCPU, or main while stopped
std::atomic<bool> ended{false};
std::atomic<uint64_t> rounds{0};   // that the vCPU has ended

void fail(const char *what)
{
    std::perror(what);
    std::_Exit(1);
}

void step(std::byte *ram, const std::string &mode, size_t page, uint64_t round, int file)
{
    std::byte *at = ram + page * pageSize;
    if (mode == "direct") {
        const auto offset = static_cast<off_t>(page * pageSize);
        if (round == 1 && ::pread(file, at, directChunk, offset) != static_cast<ssize_t>(directChunk))
            fail("pread");
        return;
    }
    if (mode == "rewrite" && page % 3 == 0) {
        std::memset(at, round % 2 ? 0 : 0x5a, pageSize);
        return;
    }
    const uint64_t word = round << 32 | page;
    std::memcpy(at + (page * 64) % pageSize, &word, sizeof word);
}

/// The round under way may have begun before: the one after it has not.
void writeEverything()
{
    for (const uint64_t enough = rounds + 2; rounds < enough;)
        ::usleep(1000);
}

} // namespace

int main(int argc, char **argv)
{
    if (argc < 5)
        return 2;
    const int ramFd = std::atoi(argv[1]);
    const std::string mode = argv[2];
    const size_t first = std::strtoull(argv[3], nullptr, 0), pages = std::strtoull(argv[4], nullptr, 0);
    const size_t stride = mode == "direct" ? directPages : 1;
    struct stat status{};
    ::fstat(ramFd, &status);
    void *map = ::mmap(nullptr, static_cast<size_t>(status.st_size), PROT_READ | PROT_WRITE, MAP_SHARED, ramFd, 0);
    if (map == MAP_FAILED)
        fail("mmap");
    const int file = argc > 5 ? ::open(argv[5], O_RDONLY | O_DIRECT) : -1;
    if (mode == "direct" && file < 0)
        fail(argv[5]);

    std::thread vcpu([&] {
        for (uint64_t round = 1; mode != "idle" && !ended; round++) {
            for (size_t page = first; page + stride <= first + pages && !ended; page += stride) {
                const std::lock_guard lock(running);
                step(static_cast<std::byte *>(map), mode, page, round, file);
            }
            rounds = round;
        }
    });
    const bool clean = !std::getenv("LD_PRELOAD") && !std::getenv("GODWIT_RAM");
    if (::write(1, clean ? "r" : "e", 1) != 1)
        fail("write");
    for (char command; ::read(0, &command, 1) == 1;) {
        if (command == 'w')
            writeEverything();
        else
            command == 's' ? running.lock() : running.unlock();
        if (::write(1, &command, 1) != 1)
            break;
    }
    ended = true;
    std::_Exit(0);
}
