// SPDX-License-Identifier: LGPL-2.1-or-later
// godwit-helper: saves, restores or migrates the memory of one guest, then exits.

#include "base/i18n.h"
#include "base/log.h"
#include "helper/operation.h"
#include "helper/sandbox.h"

#include <charconv>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <string_view>
#include <sys/stat.h>

namespace godwit::helper {

using namespace base;

namespace {

enum Exit { Succeeded = 0, OperationFailed = 1, Usage = 2 };

constexpr const char *help =
    "Usage: godwit-helper --control-fd N\n"
    "       godwit-helper --help | --version\n"
    "\n"
    "Saves, restores or migrates the memory of one guest. Started by Godwit's libvirt\n"
    "driver, which talks to it over the inherited SOCK_SEQPACKET socket N; not meant to\n"
    "be started by hand.\n"
    "\n"
    "Exit status: 0 the operation succeeded, 1 it failed or was aborted, 2 wrong usage.\n";

Session *logSession = nullptr;   // set before, and reset after, all that logs

void logToDriver(LogLevel level, const char *text)
{
    static_assert(static_cast<uint32_t>(control::LogLevel::Error) == static_cast<uint32_t>(LogLevel::Error));
    if (logSession)
        logSession->send(control::Log{static_cast<control::LogLevel>(level), text});
}

/// Null where none is asked for.
Result<std::unique_ptr<channel::TlsCredentials>> loadTls(const control::Message &message)
{
    using channel::TlsCredentials;
    const auto load = [](channel::Side side, const control::Tls &tls) -> Result<std::unique_ptr<TlsCredentials>> {
        if (tls.directory.empty())
            return std::unique_ptr<TlsCredentials>();
        return TlsCredentials::load(side, {tls.directory, tls.verifyPeer, tls.peerName});
    };
    if (const auto *save = std::get_if<control::Save>(&message))
        return load(channel::Side::Source, save->tls);
    if (const auto *restore = std::get_if<control::Restore>(&message))
        return load(channel::Side::Destination, restore->tls);
    if (const auto *relay = std::get_if<control::Relay>(&message))
        return load(relay->kind == control::StreamKind::Channel ? channel::Side::Source : channel::Side::Destination,
                    relay->tls);
    return std::unique_ptr<TlsCredentials>();
}

Result<void> run(Session &session, engine::Meter &meter)
{
    auto received = TRY(session.begin());
    // Certificates and keys are read before the sandbox closes.
    const auto tls = TRY(loadTls(received.message));
    TRY(enterSandbox());
    session.start(meter);
    if (const auto *save = std::get_if<control::Save>(&received.message))
        return runSave(session, meter, *save, std::move(received.fds), tls.get());
    if (const auto *restore = std::get_if<control::Restore>(&received.message))
        return runRestore(session, meter, *restore, std::move(received.fds), tls.get());
    if (const auto *demand = std::get_if<control::RestoreOnDemand>(&received.message))
        return runOnDemand(session, meter, *demand, std::move(received.fds));
    if (const auto *serve = std::get_if<control::ServePages>(&received.message))
        return runServePages(session, meter, *serve, std::move(received.fds));
    if (const auto *relay = std::get_if<control::Relay>(&received.message))
        return runRelay(session, meter, *relay, std::move(received.fds), tls.get());
    return makeError(ErrorCode::Internal, "the driver's first message is no order");
}

int serve(int controlFd)
{
    Session *progressTo = nullptr;
    engine::Meter meter([&] {
        if (progressTo)
            progressTo->sendProgress(meter);
    });
    Session session{UniqueFd(controlFd)};
    progressTo = logSession = &session;
    setLogSink(logToDriver);
    const auto outcome = run(session, meter);
    if (outcome) {
        session.finish(toDone(meter.snapshot()));
    } else {
        const Error &error = outcome.error();
        session.finish(control::Failed{error.code, static_cast<uint32_t>(error.errnum), error.message});
    }
    setLogSink(nullptr);
    return outcome ? Succeeded : OperationFailed;
}

int usage(const char *problem)
{
    std::fprintf(stderr, "godwit-helper: %s\n%s", problem, help);
    return Usage;
}

} // namespace

static int main(int argc, char **argv)
{
    std::setlocale(LC_ALL, "");
    const std::string_view option = argc > 1 ? argv[1] : "";
    if (argc == 2 && option == "--help")
        return std::fputs(help, stdout) < 0 ? OperationFailed : Succeeded;
    if (argc == 2 && option == "--version")
        return std::printf("godwit-helper %s\n", GODWIT_VERSION) < 0 ? OperationFailed : Succeeded;
    if (argc != 3 || option != "--control-fd")
        return usage("expected --control-fd N");
    int fd = -1;
    const char *end = argv[2] + std::strlen(argv[2]);
    if (const auto [stop, failure] = std::from_chars(argv[2], end, fd); stop != end || failure != std::errc() || fd < 0)
        return usage("--control-fd wants a number");
    struct stat status{};
    if (::fstat(fd, &status) < 0 || !S_ISSOCK(status.st_mode))
        return usage("--control-fd names no socket");
    ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    std::signal(SIGPIPE, SIG_IGN);
    return serve(fd);
}

} // namespace godwit::helper

int main(int argc, char **argv)
{
    return godwit::helper::main(argc, argv);
}
