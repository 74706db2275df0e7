// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/machine/helper_process.h"

#include "base/i18n.h"
#include "base/log.h"
#include "base/strprintf.h"
#include "conf/handle.h"
#include "conf/libvirt_error.h"
#include "control/connection.h"
#include "hypervisor/machine/aside.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>

namespace godwit::hypervisor::machine {

using base::Error;
using base::ErrorCode;
using base::LogLevel;
using base::makeError;
using base::Result;
using base::strprintf;
using base::systemError;
using base::tr;
using base::UniqueFd;

using Command = std::unique_ptr<virCommand, conf::FreeWith<virCommandFree>>;

static Result<Process> spawn(const std::string &program, int control, int output)
{
    if (!virFileIsExecutable(program.c_str()))
        return systemError(errno, tr("cannot run '%s'"), program.c_str());
    Command command(virCommandNew(program.c_str()));
    virCommandAddArg(command.get(), "--control-fd");
    virCommandAddArg(command.get(), std::to_string(control).c_str());
    virCommandAddEnvPassCommon(command.get());
    virCommandPassFD(command.get(), control, 0);
    int out = output;
    int err = output;
    virCommandSetOutputFD(command.get(), &out);
    virCommandSetErrorFD(command.get(), &err);
    pid_t pid = 0;
    TRY(conf::check(virCommandRunAsync(command.get(), &pid)));
    return Process::find(pid);
}

HelperProcess::HelperProcess(std::shared_ptr<EventLoop> loop, UniqueFd control, UniqueFd output, Process process)
    : loop_(std::move(loop)), control_(std::move(control)), output_(std::move(output)), process_(std::move(process))
{
}

Result<std::shared_ptr<HelperProcess>> HelperProcess::start(std::shared_ptr<EventLoop> loop, const std::string &program,
                                                            const control::Message &order, std::span<const int> fds)
{
    auto [ours, theirs] = TRY(control::makeConnection());
    UniqueFd output(memfd_create("godwit-helper-output", MFD_CLOEXEC));
    if (!output)
        return systemError(errno, "memfd_create");
    Process process = TRY(spawn(program, theirs.get(), output.get()));
    std::shared_ptr<HelperProcess> helper(
        new HelperProcess(std::move(loop), std::move(ours), std::move(output), std::move(process)));
    theirs.reset();
    const int flags = fcntl(helper->control_.get(), F_GETFL);
    if (flags < 0 || fcntl(helper->control_.get(), F_SETFL, flags | O_NONBLOCK) < 0)
        return systemError(errno, "control connection");
    if (auto sent = control::send(helper->control_.get(), order, fds); !sent)
        return makeError(ErrorCode::OperationFailed, "%s", helper->lastWords().c_str());
    return helper;
}

HelperProcess::~HelperProcess()
{
    end();
}

void HelperProcess::listen(HelperListener listener)
{
    loop_->post([self = shared_from_this(), listener = std::move(listener)]() mutable {
        self->listener_ = std::move(listener);
        self->input_ = Watch::onFd(*self->loop_, self->control_.get(),
                                   static_cast<GIOCondition>(G_IO_IN | G_IO_HUP | G_IO_ERR),
                                   [weak = self->weak_from_this()](GIOCondition) {
                                       if (auto helper = weak.lock())
                                           helper->read();
                                   });
    });
}

void HelperProcess::read()
{
    while (listener_.message) {
        auto received = control::receive(control_.get());
        if (!received) {
            log(LogLevel::Warning, "helper %d: %s", static_cast<int>(process_.pid()), received.error().message.c_str());
            return lose();
        }
        if (received->state == control::Received::State::Nothing)
            return;
        if (received->state == control::Received::State::Closed)
            return lose();
        take(received->message);
    }
}

void HelperProcess::take(const control::Message &message)
{
    if (const auto *text = std::get_if<control::Log>(&message)) {
        log(static_cast<LogLevel>(text->level), "helper %d: %s", static_cast<int>(process_.pid()), text->text.c_str());
        return;
    }
    if (const auto *hello = std::get_if<control::Hello>(&message)) {
        if (hello->version == control::protocolVersion)
            return;
        log(LogLevel::Error, "helper %d speaks version %u, not %u", static_cast<int>(process_.pid()), hello->version,
            control::protocolVersion);
        return lose();
    }
    const auto tell = listener_.message;
    if (std::holds_alternative<control::Done>(message) || std::holds_alternative<control::Failed>(message)) {
        leaving_ = true;
        input_.reset();
        listener_ = {};
    }
    tell(message);
}

void HelperProcess::send(const control::Message &message)
{
    // A helper that does not read is noticed by what it does not answer.
    if (auto sent = control::send(control_.get(), message, {}, std::chrono::milliseconds(0)); !sent)
        log(LogLevel::Info, "helper %d: %s", static_cast<int>(process_.pid()), sent.error().message.c_str());
}

void HelperProcess::leave()
{
    std::lock_guard lock(reapMutex_);
    reaped_ = true;
}

void HelperProcess::lose()
{
    input_.reset();
    const auto lost = std::exchange(listener_, {}).lost;
    kill();
    if (lost)
        lost(makeError(ErrorCode::OperationFailed, "%s", lastWords().c_str()));
}

void HelperProcess::kill() const
{
    if (!leaving_)
        (void)process_.signal(SIGKILL).has_value();
}

void HelperProcess::end()
{
    std::lock_guard lock(reapMutex_);
    if (std::exchange(reaped_, true))
        return;
    // After Done or Failed it leaves by itself; it may still have a file to close.
    if (!process_.waitGone(std::chrono::seconds(2)))
        (void)process_.signal(SIGKILL).has_value();
    int status = 0;
    pid_t got = 0;
    do
        got = ::waitpid(process_.pid(), &status, 0);
    while (got < 0 && errno == EINTR);
    // A client program that waits for any child of its own may have been faster.
    exitStatus_ = got == process_.pid() ? status : -1;
}

void HelperProcess::endAside()
{
    doAside([self = shared_from_this()] { self->end(); });
}

std::string HelperProcess::lastWords()
{
    end();
    std::string how = tr("the transfer helper ended unexpectedly");
    if (exitStatus_ != -1 && WIFSIGNALED(exitStatus_))
        how = strprintf(tr("the transfer helper was ended by signal %d"), WTERMSIG(exitStatus_));
    else if (exitStatus_ != -1)
        how = strprintf(tr("the transfer helper ended with status %d"), WEXITSTATUS(exitStatus_));
    char text[1024];
    const ssize_t got = ::pread(output_.get(), text, sizeof text, 0);
    if (got > 0)
        how += ": " + std::string(text, static_cast<size_t>(got));
    while (how.ends_with('\n'))
        how.pop_back();
    return how;
}

} // namespace godwit::hypervisor::machine
