// SPDX-License-Identifier: LGPL-2.1-or-later
#include "migration/verdict.h"

#include "base/i18n.h"
#include "base/log.h"
#include "conf/handle.h"
#include "migration/data_connection.h"

#include <cstring>
#include <poll.h>
#include <sys/socket.h>

namespace godwit::migration {

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::systemError;
using base::tr;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

static constexpr char questionMagic[] = "GodwitQu";
static constexpr uint32_t questionVersion = 1;
static constexpr size_t digestSize = 32, questionHead = questionSize - digestSize, answerHead = answerSize - digestSize;
static constexpr std::chrono::seconds answerPatience{10}, dismissPatience{2};
using Digest = std::array<std::byte, digestSize>;

static void putNumber(std::byte *to, uint32_t number)
{
    for (int i = 0; i < 4; i++)
        to[i] = static_cast<std::byte>(number >> (24 - 8 * i));
}

static uint32_t getNumber(const std::byte *from)
{
    uint32_t number = 0;
    for (int i = 0; i < 4; i++)
        number = number << 8 | static_cast<uint32_t>(from[i]);
    return number;
}

static Digest digestOf(const std::string &secret, std::span<const std::byte> first, std::span<const std::byte> second = {})
{
    std::unique_ptr<GHmac, conf::FreeWith<g_hmac_unref>> hmac(
        g_hmac_new(G_CHECKSUM_SHA256, reinterpret_cast<const guchar *>(secret.data()), secret.size()));
    for (std::span<const std::byte> part : {first, second})
        g_hmac_update(hmac.get(), reinterpret_cast<const guchar *>(part.data()), static_cast<gssize>(part.size()));
    Digest out;
    gsize size = out.size();
    g_hmac_get_digest(hmac.get(), reinterpret_cast<guint8 *>(out.data()), &size);
    return out;
}

/// In constant time: how far they agree is nobody's business.
static bool sameDigest(std::span<const std::byte> shown, const Digest &right)
{
    std::byte difference{};
    for (size_t i = 0; i < digestSize; i++)
        difference |= shown[i] ^ right[i];
    return difference == std::byte{};
}

Result<QuestionBytes> encodeQuestion(Question question, const std::string &secret)
{
    QuestionBytes out{};
    memcpy(out.data(), questionMagic, 8);
    putNumber(&out[8], questionVersion);
    putNumber(&out[12], static_cast<uint32_t>(question));
    // Never asked before: an answer that somebody recorded is no answer.
    TRY(conf::check(virRandomBytes(reinterpret_cast<unsigned char *>(&out[16]), 16)));
    const Digest seal = digestOf(secret, std::span(out).first<questionHead>());
    std::copy(seal.begin(), seal.end(), out.begin() + questionHead);
    return out;
}

std::optional<Question> decodeQuestion(std::span<const std::byte, questionSize> bytes, const std::string &secret)
{
    if (memcmp(bytes.data(), questionMagic, 8) != 0 || getNumber(&bytes[8]) != questionVersion ||
        !sameDigest(bytes.subspan<questionHead>(), digestOf(secret, bytes.first<questionHead>())))
        return {};
    const uint32_t question = getNumber(&bytes[12]);
    if (question < 1 || question > 2)
        return {};
    return static_cast<Question>(question);
}

AnswerBytes encodeAnswer(Verdict verdict, const QuestionBytes &question, const std::string &secret)
{
    AnswerBytes out{};
    putNumber(&out[0], static_cast<uint32_t>(verdict));
    const Digest seal = digestOf(secret, question, std::span(out).first<answerHead>());
    std::copy(seal.begin(), seal.end(), out.begin() + answerHead);
    return out;
}

std::optional<Verdict> decodeAnswer(std::span<const std::byte, answerSize> bytes, const QuestionBytes &question,
                                    const std::string &secret)
{
    const uint32_t verdict = getNumber(&bytes[0]);
    if (!sameDigest(bytes.subspan<answerHead>(), digestOf(secret, question, bytes.first<answerHead>())) || verdict < 1 ||
        verdict > 2)
        return {};
    return static_cast<Verdict>(verdict);
}

Result<void> readBytes(int fd, std::span<std::byte> bytes, milliseconds limit, int stopFd)
{
    const auto deadline = steady_clock::now() + limit;
    for (size_t got = 0; got < bytes.size();) {
        const auto left = std::chrono::duration_cast<milliseconds>(deadline - steady_clock::now());
        pollfd waited[] = {{fd, POLLIN, 0}, {stopFd, POLLIN, 0}};
        const int ready = ::poll(waited, 2, std::max(0, static_cast<int>(left.count())));
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready > 0 && waited[1].revents)
            return makeError(ErrorCode::Aborted, "%s", tr("this host is about to end"));
        if (ready <= 0)
            return makeError(ErrorCode::TimedOut, "%s", tr("no answer came"));
        const ssize_t some = ::recv(fd, bytes.data() + got, bytes.size() - got, MSG_DONTWAIT);
        if (some == 0)
            return makeError(ErrorCode::OperationFailed, "%s", tr("the connection was closed"));
        if (some < 0 && errno != EAGAIN && errno != EINTR)
            return systemError(errno, "recv");
        if (some > 0)
            got += static_cast<size_t>(some);
    }
    return {};
}

static Result<base::UniqueFd> sendQuestion(const domain::MigrationLink &destination, const QuestionBytes &question)
{
    base::UniqueFd fd = TRY(connectTo(Endpoint{destination.address, destination.port}));
    if (::send(fd.get(), question.data(), question.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(question.size()))
        return systemError(errno, "send");
    return fd;
}

Result<Verdict> ask(const domain::MigrationLink &destination, int stopFd)
{
    const QuestionBytes question = TRY(encodeQuestion(Question::WhatBecameOfIt, destination.secret));
    const base::UniqueFd fd = TRY(sendQuestion(destination, question));
    AnswerBytes answer;
    TRY(readBytes(fd.get(), answer, answerPatience, stopFd));
    if (const auto verdict = decodeAnswer(answer, question, destination.secret))
        return *verdict;
    return makeError(ErrorCode::BadFormat, "%s", tr("the answer is not the destination's"));
}

bool dismiss(const domain::MigrationLink &destination)
{
    const auto question = encodeQuestion(Question::Settled, destination.secret);
    if (!question)
        return false;
    AnswerBytes answer;
    const auto tell = [&]() -> Result<void> {
        const base::UniqueFd fd = TRY(sendQuestion(destination, *question));
        return readBytes(fd.get(), answer, dismissPatience, -1);
    };
    if (auto told = tell(); !told) {
        log(base::LogLevel::Debug, "the destination was not told that all is settled: %s", told.error().message.c_str());
        return false;
    }
    return decodeAnswer(answer, *question, destination.secret).has_value();
}

} // namespace godwit::migration
