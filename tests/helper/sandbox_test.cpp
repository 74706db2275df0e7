// SPDX-License-Identifier: LGPL-2.1-or-later
// What the helper can no longer do; that it can do its work is shown by every other test.
#include "helper/sandbox.h"

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <functional>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace {

/// In a process of its own, confined: 0 when the call succeeded, else its errno.
int confined(const std::function<long()> &call)
{
    const pid_t child = ::fork();
    if (child == 0) {
        if (!godwit::helper::enterSandbox())
            ::_exit(255);
        errno = 0;
        ::_exit(call() < 0 ? errno : 0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 254;
}

} // namespace

/// What is tried must be harmless where it succeeds: only this folder's files are touched.
struct Sandbox : testing::Test {
    std::string folder = (std::filesystem::temp_directory_path() / "godwit-sandbox.XXXXXX").string();
    std::string mine, created;

    void SetUp() override
    {
        ASSERT_NE(::mkdtemp(folder.data()), nullptr);
        mine = folder + "/mine";
        created = folder + "/created";
        std::ofstream(mine) << "kept";
    }
    void TearDown() override { std::filesystem::remove_all(folder); }
};

TEST_F(Sandbox, TakesAwayWhatATransferDoesNotNeed)
{
    if (!godwit::helper::sandboxDeniesCalls)
        GTEST_SKIP() << "sanitizers need these calls";
    EXPECT_EQ(confined([] { return ::socket(AF_INET, SOCK_STREAM, 0); }), EPERM);
    EXPECT_EQ(confined([] { return ::socket(AF_UNIX, SOCK_STREAM, 0); }), EPERM);
    EXPECT_EQ(confined([] { return ::connect(0, nullptr, 0); }), EPERM);
    EXPECT_EQ(confined([] { return ::execl("/bin/true", "true", nullptr); }), EPERM);
    EXPECT_EQ(confined([] { return ::fork(); }), EPERM);
    EXPECT_EQ(confined([&] { return ::open(created.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600); }), EPERM);
    EXPECT_EQ(confined([&] { return ::open(mine.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC); }), EPERM);
    EXPECT_EQ(confined([&] { return ::unlink(mine.c_str()); }), EPERM);
    EXPECT_EQ(confined([] { return ::kill(::getppid(), 0); }), EPERM);
    EXPECT_EQ(confined([] { return ::syscall(SYS_bpf, 0, nullptr, 0); }), EPERM);
    EXPECT_EQ(std::filesystem::file_size(mine), 4u);
}

TEST_F(Sandbox, LeavesThreadsMemoryAndReading)
{
    EXPECT_EQ(confined([] {
        std::thread([] {}).join();
        return 0L;
    }), 0);
    EXPECT_EQ(confined([] { return ::memfd_create("memory", MFD_CLOEXEC); }), 0);
    EXPECT_EQ(confined([] { return ::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC); }), 0);
    EXPECT_EQ(confined([] { return ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 0L : -1L; }), 0);
}
