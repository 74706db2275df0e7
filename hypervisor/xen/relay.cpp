// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/xen/relay.h"

#include "base/i18n.h"
#include "base/log.h"
#include "conf/libvirt_error.h"
#include "control/connection.h"

#include <sys/socket.h>

namespace godwit::hypervisor::xen {

using base::Error;
using base::ErrorCode;
using base::makeError;
using base::Result;
using base::tr;
using base::UniqueFd;

static Error crashed()
{
    return makeError(ErrorCode::OperationFailed, "%s", tr("the transfer helper ended unexpectedly"));
}

static Result<void> checkHello(int control)
{
    const control::Received first = TRY(control::receive(control));
    const auto *hello = std::get_if<control::Hello>(&first.message);
    if (first.state != control::Received::State::Arrived || !hello)
        return crashed();
    if (hello->version != control::protocolVersion)
        return makeError(ErrorCode::Internal, tr("the transfer helper speaks protocol version %u"), hello->version);
    return {};
}

Result<std::unique_ptr<RelayProcess>> RelayProcess::start(const std::string &program, const control::Relay &order,
                                                          std::span<const int> fds)
{
    auto [ours, theirs] = TRY(control::makeConnection());
    std::unique_ptr<RelayProcess> relay(new RelayProcess);
    const std::string number = std::to_string(theirs.get());
    relay->command_.reset(virCommandNewArgList(program.c_str(), "--control-fd", number.c_str(), nullptr));
    virCommandPassFD(relay->command_.get(), theirs.release(), VIR_COMMAND_PASS_FD_CLOSE_PARENT);
    TRY(conf::check(virCommandRunAsync(relay->command_.get(), nullptr)));
    relay->control_ = std::move(ours);
    TRY(checkHello(relay->control_.get()));
    TRY(control::send(relay->control_.get(), order, fds));
    relay->reader_ = std::thread([self = relay.get()] { self->read(); });
    return relay;
}

RelayProcess::~RelayProcess()
{
    // The connection's end ends the helper.
    if (control_)
        ::shutdown(control_.get(), SHUT_RDWR);
    if (reader_.joinable())
        reader_.join();
    if (command_)
        virCommandAbort(command_.get());
}

void RelayProcess::read()
{
    for (;;) {
        auto received = control::receive(control_.get());
        if (!received)
            return conclude(std::move(received).error());
        if (received->state != control::Received::State::Arrived)
            return conclude(crashed());
        if (std::get_if<control::Done>(&received->message))
            return conclude({});
        if (const auto *failed = std::get_if<control::Failed>(&received->message))
            return conclude(Error{failed->code, failed->message, static_cast<int>(failed->errnum)});
        if (const auto *line = std::get_if<control::Log>(&received->message))
            log(static_cast<base::LogLevel>(line->level), "%s", line->text.c_str());
    }
}

void RelayProcess::conclude(Result<void> outcome)
{
    const std::lock_guard lock(mutex_);
    outcome_ = std::move(outcome);
    concluded_.notify_all();
}

Result<void> RelayProcess::wait()
{
    std::unique_lock lock(mutex_);
    concluded_.wait(lock, [this] { return outcome_.has_value(); });
    return *outcome_;
}

std::optional<Error> RelayProcess::failure(std::chrono::milliseconds patience)
{
    std::unique_lock lock(mutex_);
    if (!concluded_.wait_for(lock, patience, [this] { return outcome_.has_value(); }) || *outcome_)
        return {};
    return outcome_->error();
}

void RelayProcess::abort(const std::string &reason)
{
    control::Abort order;
    order.message = reason;
    (void)control::send(control_.get(), order).has_value();
}

} // namespace godwit::hypervisor::xen
