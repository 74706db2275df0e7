// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stream/verify_libxl.h"

#include "base/bytes.h"
#include "base/i18n.h"
#include "base/strprintf.h"

#include <algorithm>

namespace godwit::stream {

using namespace base;

// Distinct emulator records of one image: more are found to be wrong by themselves.
static constexpr size_t maxEmulators = 1024;

void LibxlVerifier::header(uint64_t offset, std::span<const std::byte> raw)
{
    const auto header = libxl::decodeHeader(raw);
    if (header)
        legacy_ = header->legacy;
    else
        findings_.add(Severity::Error, offset, tr("libxl header"), header.error().message);
}

void LibxlVerifier::record(const RecordAt &record)
{
    const libxl::RecordInfo *info = libxl::findRecord(record.type);
    bodyIsWorthReading_ = info && record.length >= info->minLength && record.length <= info->maxLength;
    if (!info)
        findings_.error(record, tr("is unknown, and libxl skips nothing"));
    else if (!bodyIsWorthReading_)
        findings_.error(record, strprintf(tr("has the wrong length %u"), record.length));
    if (info)
        checkOrder(record, info->type);
    afterCheckpoint_ = record.is(Type::CheckpointEnd);
}

void LibxlVerifier::checkOrder(const RecordAt &record, Type type)
{
    if (!contextSeen_ && type != Type::LibxcContext)
        findings_.error(record, tr("comes before LIBXC_CONTEXT"));
    switch (type) {
    case Type::LibxcContext:
        if (contextSeen_)
            findings_.error(record, tr("comes a second time"));
        contextSeen_ = true;
        return;
    case Type::End:
        if (inCheckpoint_)
            findings_.error(record, tr("comes before CHECKPOINT_END"));
        return;
    case Type::CheckpointEnd:
        if (!inCheckpoint_)
            findings_.error(record, tr("comes without a CHECKPOINT before it"));
        inCheckpoint_ = false;
        emulators_.clear();
        return;
    case Type::CheckpointState:
        if (!afterCheckpoint_)
            findings_.error(record, tr("does not follow CHECKPOINT_END"));
        return;
    case Type::EmulatorXenstoreData:
    case Type::EmulatorContext:
        return;
    }
}

Result<void> LibxlVerifier::body(const RecordAt &record, Source &body, std::optional<libxc::DomainType> guest)
{
    if (!bodyIsWorthReading_)
        return {};
    if (record.is(Type::CheckpointState))
        return checkState(record, body);
    if (!record.is(Type::EmulatorXenstoreData) && !record.is(Type::EmulatorContext))
        return {};
    if (guest == libxc::DomainType::X86Pv)
        findings_.error(record, tr("does not belong to this type of guest"));
    TRY(checkEmulator(record, body));
    if (record.is(Type::EmulatorXenstoreData))
        return checkXenstoreData(record, body);
    if (record.length == libxl::emulatorHeaderSize)
        findings_.warning(record, tr("is empty"));
    return {};
}

Result<void> LibxlVerifier::checkEmulator(const RecordAt &record, Source &body)
{
    std::array<std::byte, libxl::emulatorHeaderSize> raw;
    TRY(body.read(raw));
    const auto header = libxl::decodeEmulatorHeader(raw);
    if (!header) {
        findings_.error(record, header.error().message);
        return {};
    }
    if (header->emulator == libxl::Emulator::Unknown && !legacy_)
        findings_.warning(record, tr("is of an unknown emulator, in a stream that no converter made"));
    const auto keyOf = [&](uint32_t type) { return std::tuple(type, static_cast<uint32_t>(header->emulator), header->index); };
    if (record.is(Type::EmulatorXenstoreData) && emulators_.contains(keyOf(static_cast<uint32_t>(Type::EmulatorContext))))
        findings_.warning(record, tr("comes after EMULATOR_CONTEXT"));
    if (emulators_.size() < maxEmulators && !emulators_.insert(keyOf(record.type)).second)
        findings_.error(record, tr("comes a second time"));
    return {};
}

Result<void> LibxlVerifier::checkXenstoreData(const RecordAt &record, Source &body)
{
    std::vector<std::byte> data(record.length - libxl::emulatorHeaderSize);   // limited by the record's row
    TRY(body.read(data));
    const auto pairs = libxl::decodeXenstorePairs(data);
    if (!pairs) {
        findings_.error(record, pairs.error().message);
        return {};
    }
    const auto isPrintable = [](char c) { return c >= ' ' && c <= '~'; };
    for (const libxl::XenstorePair &pair : *pairs) {
        if (!std::ranges::all_of(pair.value, isPrintable)) {
            findings_.warning(record, strprintf(tr("has a value of %s that is not plain text"), pair.key.c_str()));
            break;
        }
    }
    return {};
}

Result<void> LibxlVerifier::checkState(const RecordAt &record, Source &body)
{
    std::array<std::byte, 4> raw;
    TRY(body.read(raw));
    const auto state = libxl::decodeCheckpointState(raw);
    if (!state)
        findings_.error(record, state.error().message);
    else if (*state != libxl::CheckpointState::New)
        findings_.error(record, tr("only goes from the secondary host to the primary one"));
    return {};
}

} // namespace godwit::stream
