// SPDX-License-Identifier: LGPL-2.1-or-later
#include "migration/witness.h"

#include "base/log.h"

#include <chrono>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

namespace godwit::migration {

using base::UniqueFd;

/// A source that has not asked by then will hardly come back; its user decides.
static constexpr std::chrono::minutes linger{10};
/// Who connects and says nothing keeps others waiting no longer.
static constexpr std::chrono::seconds speakPatience{1};

Witness::Witness(UniqueFd listener, std::string secret, unsigned short port)
    : listener_(std::move(listener)), secret_(std::move(secret)), port_(port)
{
}

Witness::~Witness()
{
    listener_.reset();
    if (port_)
        virPortAllocatorRelease(port_);
}

void Witness::testify(Verdict verdict, domain::Background &background)
{
    if (secret_.empty() || std::exchange(testifying_, true))
        return;
    background.run([self = shared_from_this(), verdict, stopFd = background.stopFd()] { self->serve(verdict, stopFd); });
}

void Witness::serve(Verdict verdict, int stopFd)
{
    using namespace std::chrono;
    const auto end = steady_clock::now() + linger;
    (void)::fcntl(listener_.get(), F_SETFL, O_NONBLOCK);
    for (;;) {
        const auto left = duration_cast<milliseconds>(end - steady_clock::now()).count();
        pollfd waited[] = {{listener_.get(), POLLIN, 0}, {stopFd, POLLIN, 0}};
        const int ready = left > 0 ? ::poll(waited, 2, static_cast<int>(left)) : 0;
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0 || waited[1].revents)
            return;
        const UniqueFd connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (connection && answer(connection.get(), verdict, stopFd))
            return;
    }
}

bool Witness::answer(int connection, Verdict verdict, int stopFd)
{
    QuestionBytes bytes;
    if (!readBytes(connection, bytes, speakPatience, stopFd))
        return false;
    const auto question = decodeQuestion(bytes, secret_);
    if (!question || *question == Question::Settled)
        return question.has_value();
    const AnswerBytes told = encodeAnswer(verdict, bytes, secret_);
    if (::send(connection, told.data(), told.size(), MSG_NOSIGNAL) < 0)
        log(base::LogLevel::Info, "the source of a migration did not wait for the answer to its question");
    return false;
}

} // namespace godwit::migration
