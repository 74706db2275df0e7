// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/machine/qmp.h"

#include "base/i18n.h"
#include "base/log.h"

#include <cassert>
#include <condition_variable>
#include <cstring>
#include <fcntl.h>
#include <sys/socket.h>

namespace godwit::hypervisor::machine {

using base::Error;
using base::ErrorCode;
using base::LogLevel;
using base::makeError;
using base::Result;
using base::systemError;
using base::tr;
using base::UniqueFd;

namespace {

/// Where a worker waits for an answer that the event thread brings.
struct Waiter {
    std::mutex mutex;
    std::condition_variable arrived;
    std::optional<Result<Json>> answer;

    void put(Result<Json> result)
    {
        std::lock_guard lock(mutex);
        answer = std::move(result);
        arrived.notify_all();
    }
    /// Nothing when the time is over.
    std::optional<Result<Json>> wait(std::chrono::milliseconds timeout)
    {
        std::unique_lock lock(mutex);
        arrived.wait_for(lock, timeout, [&] { return answer.has_value(); });
        return std::move(answer);
    }
};

} // namespace

Qmp::Qmp(std::shared_ptr<EventLoop> loop, UniqueFd socket, std::string name, QmpListener listener)
    : loop_(std::move(loop)), socket_(std::move(socket)), name_(std::move(name)), listener_(std::move(listener))
{
}

Qmp::~Qmp() = default;

Result<std::shared_ptr<Qmp>> Qmp::open(std::shared_ptr<EventLoop> loop, UniqueFd socket, std::string name,
                                       QmpListener listener, std::chrono::milliseconds timeout)
{
    assert(!loop->inside());
    const int flags = fcntl(socket.get(), F_GETFL);
    if (flags < 0 || fcntl(socket.get(), F_SETFL, flags | O_NONBLOCK) < 0)
        return systemError(errno, "monitor socket");
    std::shared_ptr<Qmp> qmp(new Qmp(loop, std::move(socket), std::move(name), std::move(listener)));
    auto waiter = std::make_shared<Waiter>();
    loop->post([qmp, waiter] { qmp->start([waiter](Result<Json> result) { waiter->put(std::move(result)); }); });
    auto ready = waiter->wait(timeout);
    if (!ready) {
        qmp->detach();
        return makeError(ErrorCode::TimedOut, tr("the emulator of '%s' did not become ready"), qmp->name_.c_str());
    }
    TRY(std::move(*ready));
    return qmp;
}

void Qmp::start(Answer ready)
{
    ready_ = std::move(ready);
    armInput();
    drain();
}

void Qmp::armInput()
{
    input_ = Watch::onFd(*loop_, socket_.get(), static_cast<GIOCondition>(G_IO_IN | G_IO_HUP | G_IO_ERR),
                         [weak = weak_from_this()](GIOCondition) {
                             // One helping per turn: an event storm must not starve the loop.
                             if (auto self = weak.lock())
                                 self->readSome();
                         });
}

Result<Json> Qmp::call(const char *command, Json arguments, int fd, std::chrono::milliseconds timeout)
{
    assert(!loop_->inside());
    UniqueFd copy;
    if (fd >= 0) {
        copy.reset(fcntl(fd, F_DUPFD_CLOEXEC, 3));
        if (!copy)
            return systemError(errno, "%s", command);
    }
    auto waiter = std::make_shared<Waiter>();
    auto passed = std::make_shared<UniqueFd>(std::move(copy));
    loop_->post([self = shared_from_this(), command = std::string(command), arguments = std::move(arguments), waiter,
                 passed] {
        self->submit(command.c_str(), arguments, [waiter](Result<Json> result) { waiter->put(std::move(result)); },
                     std::move(*passed));
    });
    auto answer = waiter->wait(timeout);
    if (!answer)
        return makeError(ErrorCode::TimedOut, tr("the emulator of '%s' did not answer '%s' in time"), name_.c_str(),
                         command);
    return std::move(*answer);
}

void Qmp::submit(const char *command, Json arguments, Answer answer, UniqueFd fd)
{
    if (state_ == State::Closed)
        return answer(closedWhy_);
    if (state_ != State::Ready)
        return answer(makeError(ErrorCode::Internal, "monitor of '%s' is not ready", name_.c_str()));
    if (pending_.size() >= maxPending)
        return answer(makeError(ErrorCode::OperationFailed, tr("the emulator of '%s' does not answer"), name_.c_str()));
    send(command, arguments, std::move(answer), std::move(fd));
}

void Qmp::send(const char *command, const Json &arguments, Answer answer, UniqueFd fd)
{
    const int64_t id = ++lastId_;
    Outgoing message;
    message.text = Json::object({{"execute", command}, {"arguments", arguments}, {"id", id}}).text() + "\n";
    message.fd = std::move(fd);
    outgoing_.push_back(std::move(message));
    pending_.emplace(id, std::move(answer));
    writeSome();
}

/// sendmsg() with one fd beside the first byte.
static ssize_t sendWithFd(int socket, const char *data, size_t size, int fd)
{
    iovec part{const_cast<char *>(data), size};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    if (fd >= 0) {
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &fd, sizeof fd);
    }
    return ::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void Qmp::writeSome()
{
    while (!outgoing_.empty()) {
        Outgoing &first = outgoing_.front();
        const ssize_t sent = sendWithFd(socket_.get(), first.text.data() + first.sent, first.text.size() - first.sent,
                                        first.fd.get());
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return armOutput();
        // A broken connection shows on the reading side, behind what QEMU still had to say.
        if (sent < 0)
            break;
        first.fd.reset();
        first.sent += static_cast<size_t>(sent);
        if (first.sent == first.text.size())
            outgoing_.pop_front();
    }
    output_.reset();
}

void Qmp::armOutput()
{
    if (output_)
        return;
    output_ = Watch::onFd(*loop_, socket_.get(), G_IO_OUT, [weak = weak_from_this()](GIOCondition) {
        if (auto self = weak.lock())
            self->writeSome();
    });
}

bool Qmp::readSome()
{
    if (state_ == State::Closed)
        return false;
    char buffer[64 * 1024];
    const ssize_t got = ::recv(socket_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (got < 0 && errno == EINTR)
        return true;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return false;
    if (got <= 0) {
        close(makeError(ErrorCode::OperationFailed, tr("the emulator of '%s' has ended unexpectedly"), name_.c_str()));
        return false;
    }
    received_.append(buffer, static_cast<size_t>(got));

    size_t begin = 0;
    for (;;) {
        const size_t end = received_.find('\n', std::max(begin, scanned_));
        if (end == std::string::npos)
            break;
        const std::string line = received_.substr(begin, end - begin);
        begin = scanned_ = end + 1;
        takeLine(line);
        if (state_ == State::Closed)
            return false;
    }
    received_.erase(0, begin);
    scanned_ = received_.size();
    if (received_.size() > maxLine) {
        close(makeError(ErrorCode::OperationFailed, tr("the emulator of '%s' sent a line without end"), name_.c_str()));
        return false;
    }
    return true;
}

void Qmp::drain()
{
    auto self = shared_from_this();
    while (readSome()) {
    }
}

void Qmp::takeLine(std::string_view line)
{
    if (line.find_first_not_of(" \t\r") == std::string_view::npos)
        return;
    auto parsed = line.size() > maxLine ? Result<Json>(makeError(ErrorCode::BadFormat, "a line is too long"))
                                        : Json::parse(line);
    if (!parsed || !parsed->isObject())
        return close(makeError(ErrorCode::OperationFailed, tr("the emulator of '%s' sent what is not QMP: %s"),
                               name_.c_str(), parsed ? "no object" : parsed.error().message.c_str()));
    const Json &message = *parsed;
    if (auto event = message["event"].string()) {
        if (listener_.event)
            listener_.event(*event, message["data"]);
    } else if (message["return"] || message["error"]) {
        takeAnswer(message);
    } else if (message["QMP"] && state_ == State::Greeting) {
        negotiate();
    } else {
        log(LogLevel::Warning, "monitor of '%s': ignored: %.200s", name_.c_str(), std::string(line).c_str());
    }
}

void Qmp::negotiate()
{
    state_ = State::Negotiate;
    send("qmp_capabilities", {}, [this](Result<Json> result) {
        auto ready = std::exchange(ready_, nullptr);
        if (result)
            state_ = State::Ready;
        if (ready)
            ready(std::move(result));
    }, {});
}

void Qmp::takeAnswer(const Json &message)
{
    auto found = pending_.find(message["id"].integer().value_or(0));
    if (found == pending_.end()) {
        log(LogLevel::Warning, "monitor of '%s': an answer nobody asked for", name_.c_str());
        return;
    }
    Answer answer = std::move(found->second);
    pending_.erase(found);
    if (const Json error = message["error"])
        answer(makeError(ErrorCode::OperationFailed, tr("the emulator says: %s"),
                         error["desc"].string().value_or("(nothing)").c_str()));
    else
        answer(message["return"]);
}

void Qmp::close(Error why)
{
    if (state_ == State::Closed)
        return;
    auto self = shared_from_this();
    state_ = State::Closed;
    closedWhy_ = why;
    input_.reset();
    output_.reset();
    outgoing_.clear();
    socket_.reset();
    if (auto ready = std::exchange(ready_, nullptr))
        ready(why);
    for (auto &[id, answer] : std::exchange(pending_, {}))
        answer(why);
    if (auto closed = std::exchange(listener_, {}).closed)
        closed(why);
}

void Qmp::detach()
{
    loop_->post([self = shared_from_this()] {
        self->listener_ = {};
        self->close(makeError(ErrorCode::OperationFailed, tr("the connection to the emulator of '%s' was closed"),
                              self->name_.c_str()));
    });
}

} // namespace godwit::hypervisor::machine
