// SPDX-License-Identifier: LGPL-2.1-or-later
// Any file as a witness's record, and any message of the two sides about what became of a guest.
#include "base/unique_fd.h"
#include "migration/witness_record.h"

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <sys/mman.h>

using namespace godwit;
using namespace godwit::migration;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void readMessages(std::span<const std::byte> data)
{
    const std::string secret(64, 'a');
    QuestionBytes question{};
    AnswerBytes answer{};
    std::ranges::copy(data.first(std::min(data.size(), question.size())), question.begin());
    std::ranges::copy(data.last(std::min(data.size(), answer.size())), answer.begin());
    // Nobody guesses a code of 256 bits.
    if (decodeQuestion(question, secret) || decodeAnswer(answer, question, secret))
        std::abort();
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    readMessages(std::as_bytes(std::span(data, size)));
    static const base::UniqueFd file(::memfd_create("record", MFD_CLOEXEC));
    const std::string path = "/proc/self/fd/" + std::to_string(file.get());
    if (::ftruncate(file.get(), 0) < 0 || ::pwrite(file.get(), data, size, 0) != static_cast<ssize_t>(size))
        std::abort();
    const auto record = readRecord(path);
    if (!record)
        return record.error().message.empty() ? std::abort(), 0 : 0;
    static const std::string again = std::filesystem::temp_directory_path() / ("fuzz-witness." + std::to_string(::getpid()));
    if (!writeRecord(again, *record))
        std::abort();
    const auto same = readRecord(again);
    ::unlink(again.c_str());
    if (!same || same->here.secret != record->here.secret || same->here.port != record->here.port ||
        same->here.address != record->here.address || same->verdict != record->verdict)
        std::abort();
    return 0;
}
