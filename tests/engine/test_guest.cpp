// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/engine/test_guest.h"

#include "base/strprintf.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

namespace godwit::tests {

using namespace base;

UniqueFd makeRam(uint64_t pages)
{
    UniqueFd fd(::memfd_create("test-ram", MFD_CLOEXEC));
    EXPECT_TRUE(fd);
    EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(pages * pageSize)), 0);
    return fd;
}

void fillRam(int ramFd, uint64_t first, uint64_t pages, uint64_t seed)
{
    std::vector<uint64_t> page(pageSize / sizeof(uint64_t));
    for (uint64_t number = first; number < first + pages; number++) {
        for (size_t i = 0; i < page.size(); i++)
            page[i] = (number * 512 + i + seed) * 0x9e3779b97f4a7c15;
        const auto count = ::pwrite(ramFd, page.data(), pageSize, static_cast<off_t>(number * pageSize));
        ASSERT_EQ(count, static_cast<ssize_t>(pageSize));
    }
}

static size_t sizeOf(int fd)
{
    struct stat status{};
    EXPECT_EQ(::fstat(fd, &status), 0);
    return static_cast<size_t>(status.st_size);
}

RamView::RamView(int ramFd)
{
    const size_t size = sizeOf(ramFd);
    const void *data = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, ramFd, 0);
    EXPECT_NE(data, MAP_FAILED);
    data_ = {static_cast<const std::byte *>(data), size};
}

RamView::~RamView()
{
    ::munmap(const_cast<std::byte *>(data_.data()), data_.size());
}

static std::vector<std::byte> readAll(int fd)
{
    std::vector<std::byte> data(sizeOf(fd));
    for (size_t done = 0; done < data.size();) {
        const ssize_t count = ::pread(fd, data.data() + done, data.size() - done, static_cast<off_t>(done));
        if (count <= 0)
            break;
        done += static_cast<size_t>(count);
    }
    return data;
}

std::vector<uint64_t> differingPages(int one, int other)
{
    const auto left = readAll(one), right = readAll(other);
    EXPECT_EQ(left.size(), right.size());
    std::vector<uint64_t> out;
    for (size_t at = 0; at < std::min(left.size(), right.size()); at += pageSize)
        if (std::memcmp(&left[at], &right[at], pageSize) != 0)
            out.push_back(at / pageSize);
    return out;
}

uint64_t allocatedPages(int ramFd)
{
    struct stat status{};
    ::fstat(ramFd, &status);
    return static_cast<uint64_t>(status.st_blocks) * 512 / pageSize;
}

static bool hasWriteProtect()
{
    constexpr uint64_t asynchronous = 1 << 15, unpopulated = 1 << 13, shmem = 1 << 12;
    const UniqueFd fd(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | /* UFFD_USER_MODE_ONLY */ 1)));
    uffdio_api api{};
    api.api = UFFD_API;
    api.features = asynchronous | unpopulated | shmem;
    return fd && ::ioctl(fd.get(), UFFDIO_API, &api) == 0;
}

static bool hasSoftDirty()
{
    const UniqueFd clear(::open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC));
    const UniqueFd map(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
    volatile char *page = static_cast<char *>(::mmap(nullptr, pageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    const auto isDirty = [&] {
        uint64_t entry = 0;
        const auto at = static_cast<off_t>(reinterpret_cast<uintptr_t>(page) / pageSize * sizeof entry);
        return ::pread(map.get(), &entry, sizeof entry, at) == sizeof entry && (entry >> 55 & 1) != 0;
    };
    *page = 1;
    if (::write(clear.get(), "4", 1) != 1 || isDirty())
        return false;
    *page = 2;
    return isDirty();
}

std::string bestTracker(bool agent)
{
    static const bool writeProtect = hasWriteProtect(), softDirty = hasSoftDirty();
    return agent && writeProtect ? "write-protect" : softDirty ? "soft-dirty" : "content-hash";
}

TestGuest::TestGuest(int ramFd, const Options &options)
{
    int in[2], out[2];
    EXPECT_EQ(::pipe2(in, O_CLOEXEC), 0);
    EXPECT_EQ(::pipe2(out, O_CLOEXEC), 0);
    UniqueFd childInput(in[0]), childOutput(out[1]);
    input_.reset(in[1]);
    output_.reset(out[0]);
    struct stat ram{};
    ::fstat(ramFd, &ram);
    int agent[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, agent), 0);
    agent_.reset(agent[0]);
    UniqueFd agentEnd(agent[1]);
    std::string identity = strprintf("%llu:%llu", static_cast<unsigned long long>(ram.st_dev),
                                           static_cast<unsigned long long>(ram.st_ino));
    if (options.demand)
        identity += ":" + std::to_string(agentEnd.get());
    const std::string first = std::to_string(options.firstPage), pages = std::to_string(options.pages);
    const std::string fd = std::to_string(ramFd);
    pid_ = ::fork();
    if (pid_ == 0) {
        ::dup2(childInput.get(), 0);
        ::dup2(childOutput.get(), 1);
        ::fcntl(ramFd, F_SETFD, 0);
        if (options.demand)
            ::fcntl(agentEnd.get(), F_SETFD, 0);
        if (options.agent) {
            ::setenv("LD_PRELOAD", GODWIT_TEST_AGENT, 1);
            ::setenv("GODWIT_RAM", identity.c_str(), 1);
        }
        ::execl(GODWIT_TEST_GUEST, "test-guest", fd.c_str(), options.mode.c_str(), first.c_str(), pages.c_str(),
                options.file.empty() ? nullptr : options.file.c_str(), nullptr);
        ::_exit(127);
    }
    childInput.reset();
    childOutput.reset();   // so that a guest that did not start shows as the pipe's end
    char ready = 0;
    EXPECT_EQ(::read(output_.get(), &ready, 1), 1);
    EXPECT_EQ(ready, 'r');
}

UniqueFd TestGuest::takeFaults()
{
    int number = -1, fd = -1;
    iovec data{&number, sizeof number};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    if (::recvmsg(agent_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) > 0 && CMSG_FIRSTHDR(&message))
        std::memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    return UniqueFd(fd);
}

TestGuest::~TestGuest()
{
    if (pid_ <= 0)
        return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
}

void TestGuest::command(char letter)
{
    char answer = 0;
    ASSERT_EQ(::write(input_.get(), &letter, 1), 1);
    ASSERT_EQ(::read(output_.get(), &answer, 1), 1);
    ASSERT_EQ(answer, letter);
}

} // namespace godwit::tests
