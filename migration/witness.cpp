// SPDX-License-Identifier: LGPL-2.1-or-later
#include "migration/witness.h"

#include "base/log.h"
#include "domain/host.h"
#include "migration/data_connection.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

namespace godwit::migration {

using base::Result;
using base::UniqueFd;
using std::chrono::system_clock;

/// Who connects and says nothing keeps others waiting no longer.
static constexpr std::chrono::seconds speakPatience{1};

Witness::Witness(UniqueFd listener, domain::MigrationLink here, bool acquired, std::string path)
    : listener_(std::move(listener)), here_(std::move(here)), acquired_(acquired), path_(std::move(path))
{
}

Witness::~Witness()
{
    listener_.reset();
    if (acquired_)
        virPortAllocatorRelease(here_.port);
    if (!keepRecord_ && !here_.secret.empty())
        ::unlink(path_.c_str());
}

void Witness::record(Verdict verdict)
{
    if (here_.secret.empty())
        return;
    if (until_ == system_clock::time_point())
        until_ = system_clock::now() + linger;
    if (auto written = writeRecord(path_, {here_, verdict, until_}); !written)
        log(base::LogLevel::Warning, "what became of a migration is not written down: %s",
            written.error().message.c_str());
}

void Witness::testify(Verdict verdict, domain::Background &background)
{
    if (here_.secret.empty() || std::exchange(testifying_, true))
        return;
    record(verdict);
    background.run([self = shared_from_this(), verdict, stopFd = background.stopFd()] { self->serve(verdict, stopFd); });
}

Result<void> Witness::resume(const std::string &path, domain::Host &host)
{
    const WitnessRecord record = TRY(readRecord(path));
    if (record.until <= system_clock::now()) {
        ::unlink(path.c_str());
        return {};
    }
    ListeningSocket listening = TRY(listenOn(record.here.address, record.here.port, host.migrationPorts()));
    const bool acquired = virPortAllocatorSetUsed(record.here.port) == 0;
    auto witness = std::make_shared<Witness>(std::move(listening.fd), record.here, acquired, path);
    witness->until_ = std::min(record.until, system_clock::now() + linger);
    witness->testify(record.verdict, host.background());
    return {};
}

void Witness::serve(Verdict verdict, int stopFd)
{
    keepRecord_ = !serveUntilSettled(verdict, stopFd);
}

bool Witness::serveUntilSettled(Verdict verdict, int stopFd)
{
    using namespace std::chrono;
    (void)::fcntl(listener_.get(), F_SETFL, O_NONBLOCK);
    for (;;) {
        const auto left = duration_cast<milliseconds>(until_ - system_clock::now()).count();
        pollfd waited[] = {{listener_.get(), POLLIN, 0}, {stopFd, POLLIN, 0}};
        const int ready = left > 0 ? ::poll(waited, 2, static_cast<int>(left)) : 0;
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready > 0 && waited[1].revents)
            return false;
        if (ready <= 0)
            return true;
        const UniqueFd connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (connection && answer(connection.get(), verdict, stopFd))
            return true;
    }
}

bool Witness::answer(int connection, Verdict verdict, int stopFd)
{
    QuestionBytes bytes;
    if (!readBytes(connection, bytes, speakPatience, stopFd))
        return false;
    const auto question = decodeQuestion(bytes, here_.secret);
    if (!question)
        return false;
    // Who is told that it was heard says it no more.
    if (*question == Question::Settled)
        ::unlink(path_.c_str());
    const AnswerBytes told = encodeAnswer(verdict, bytes, here_.secret);
    if (::send(connection, told.data(), told.size(), MSG_NOSIGNAL) < 0)
        log(base::LogLevel::Info, "the source of a migration did not wait for the answer to its question");
    return *question == Question::Settled;
}

} // namespace godwit::migration
