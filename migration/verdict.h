// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// What the source of a migration asks its destination when it has sent the guest and cannot know
// what became of it: the answer of Finish was lost, the client has gone, a daemon was restarted
// (docs/migration.md). Both messages bear a digest made with the migration's secret, which itself
// does not travel here.

#include "base/result.h"
#include "domain/private_data.h"

#include <array>
#include <chrono>
#include <cstddef>
#include <optional>
#include <span>

namespace godwit::migration {

enum class Question : uint32_t {
    WhatBecameOfIt = 1,
    Settled = 2,   ///< none is left: the destination need not listen any more
};

enum class Verdict : uint32_t {
    Started = 1,   ///< the destination runs it, or had it running
    Ended = 2,     ///< the destination has no copy, and never ran one
};

inline constexpr size_t questionSize = 64;
inline constexpr size_t answerSize = 40;
using QuestionBytes = std::array<std::byte, questionSize>;
using AnswerBytes = std::array<std::byte, answerSize>;

base::Result<QuestionBytes> encodeQuestion(Question question, const std::string &secret);
/// Nothing if it is none of ours, or not of this migration.
std::optional<Question> decodeQuestion(std::span<const std::byte, questionSize> bytes, const std::string &secret);
AnswerBytes encodeAnswer(Verdict verdict, const QuestionBytes &question, const std::string &secret);
std::optional<Verdict> decodeAnswer(std::span<const std::byte, answerSize> bytes, const QuestionBytes &question,
                                    const std::string &secret);

/// Source: ask, and wait some seconds for the answer: Aborted, if `stopFd` (-1: none) becomes
/// readable before it comes. No domain locked.
base::Result<Verdict> ask(const domain::MigrationLink &destination, int stopFd = -1);
/// Source: tell that nothing will be asked; false if nobody says that it was heard. A destination that does not
/// hear it gives up by itself.
bool dismiss(const domain::MigrationLink &destination);

/// Read all of `bytes` within `limit`, unless `stopFd` becomes readable (-1: none).
base::Result<void> readBytes(int fd, std::span<std::byte> bytes, std::chrono::milliseconds limit, int stopFd);

} // namespace godwit::migration
