// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/helper/helper_process.h"

#include "base/units.h"

#include <array>
#include <csignal>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>

namespace godwit::tests {

using namespace base;
using control::Received;

HelperProcess::HelperProcess()
{
    std::signal(SIGPIPE, SIG_IGN);
    auto ends = control::makeConnection();
    EXPECT_TRUE(ends);
    control_ = std::move(ends->first);
    const std::string fd = std::to_string(ends->second.get());
    pid_ = ::fork();
    if (pid_ == 0) {
        ::fcntl(ends->second.get(), F_SETFD, 0);
        ::execl(GODWIT_TEST_HELPER, "godwit-helper", "--control-fd", fd.c_str(), nullptr);
        ::_exit(127);
    }
}

HelperProcess::~HelperProcess()
{
    if (pid_ <= 0)
        return;
    // One that leaves by itself is not disturbed: a leak check at its end may be under way.
    if (!leaving_)
        kill();
    wait();
}

void HelperProcess::save(control::Save request, int ramFd, int streamFd, const std::vector<UniqueFd> &further)
{
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    stateWrite_.reset(ends[1]);
    const UniqueFd theirs(ends[0]);
    std::vector<int> fds{ramFd, streamFd, theirs.get()};
    for (const UniqueFd &one : further)
        fds.push_back(one.get());
    request.connections = static_cast<uint32_t>(further.size() + 1);
    ASSERT_TRUE(control::send(control_.get(), request, fds));
}

void HelperProcess::relay(const control::Relay &request, int pipeFd, int streamFd, const std::vector<UniqueFd> &further)
{
    std::vector<int> fds{pipeFd, streamFd};
    for (const UniqueFd &one : further)
        fds.push_back(one.get());
    ASSERT_TRUE(control::send(control_.get(), request, fds));
}

void HelperProcess::restore(control::Restore request, int ramFd, int streamFd)
{
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    stateRead_.reset(ends[0]);
    const UniqueFd theirs(ends[1]);
    const std::array fds{ramFd, streamFd, theirs.get()};
    ASSERT_TRUE(control::send(control_.get(), request, fds));
}

control::Message HelperProcess::run()
{
    control::Message last = control::Failed{};
    runUntil([&](const control::Message &message) {
        const bool end = std::holds_alternative<control::Done>(message)
            || std::holds_alternative<control::Failed>(message);
        if (end)
            last = message;
        leaving_ = leaving_ || end;
        return end;
    });
    return last;
}

bool HelperProcess::runUntil(const std::function<bool(const control::Message &)> &stop)
{
    for (;;) {
        auto received = control::receive(control_.get());
        EXPECT_TRUE(received) << received.error().message;
        if (!received || received->state != Received::State::Arrived)
            return false;
        if (stop(received->message))
            return true;
        handle(received->message);
    }
}

void HelperProcess::handle(const control::Message &message)
{
    if (const auto *progress = std::get_if<control::Progress>(&message)) {
        lastProgress = *progress;
        progressMessages++;
    } else if (std::holds_alternative<control::SuspendRequest>(message)) {
        if (onSuspend)
            onSuspend();
        send(control::Suspended{});
        // A helper that was told to abort may be gone by now.
        const ssize_t count = ::write(stateWrite_.get(), stateToWrite.data(), stateToWrite.size());
        EXPECT_TRUE(count == static_cast<ssize_t>(stateToWrite.size()) || errno == EPIPE);
        stateWrite_.reset();
    } else if (const auto *load = std::get_if<control::LoadState>(&message)) {
        stateRead.resize(load->size);
        size_t done = 0;
        for (ssize_t count = 1; count > 0 && done < stateRead.size(); done += static_cast<size_t>(count)) {
            count = ::read(stateRead_.get(), stateRead.data() + done, stateRead.size() - done);
            ASSERT_GE(count, 0);
        }
        send(loadAnswer);
    }
}

void HelperProcess::kill()
{
    ::kill(pid_, SIGKILL);
}

int HelperProcess::wait()
{
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

std::pair<UniqueFd, uint16_t> makeListener()
{
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr *>(&address), length), 0);
    EXPECT_EQ(::listen(fd.get(), 16), 0);
    EXPECT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr *>(&address), &length), 0);
    return {std::move(fd), ntohs(address.sin_port)};
}

UniqueFd connectTo(uint16_t port)
{
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    if (::connect(fd.get(), reinterpret_cast<sockaddr *>(&address), sizeof address) < 0)
        fd.reset();
    return fd;
}

std::pair<UniqueFd, UniqueFd> makeTcpPair()
{
    auto [listener, port] = makeListener();
    UniqueFd source = connectTo(port);
    UniqueFd destination(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    return {std::move(source), std::move(destination)};
}

std::string failureOf(const control::Message &message)
{
    const auto *failed = std::get_if<control::Failed>(&message);
    return failed ? failed->message : "";
}

std::vector<control::Region> oneRegion(uint64_t pages)
{
    return {{0, 0, pages}};
}

} // namespace godwit::tests
