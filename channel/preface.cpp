// SPDX-License-Identifier: LGPL-2.1-or-later
#include "channel/preface.h"

#include "base/i18n.h"

namespace godwit::channel {

using namespace base;

static int digitOf(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    if (digit >= 'A' && digit <= 'F')
        return digit - 'A' + 10;
    return -1;
}

Result<Secret> parseSecret(const std::string &hex)
{
    Secret secret;
    if (hex.size() != 2 * secret.size())
        return makeError(ErrorCode::InvalidArgument, tr("the connection's secret has %zu digits instead of %zu"),
                         hex.size(), 2 * secret.size());
    for (size_t i = 0; i < secret.size(); i++) {
        const int high = digitOf(hex[2 * i]);
        const int low = digitOf(hex[2 * i + 1]);
        if (high < 0 || low < 0)
            return makeError(ErrorCode::InvalidArgument, tr("the connection's secret is not hexadecimal"));
        secret[i] = static_cast<std::byte>(high << 4 | low);
    }
    return secret;
}

bool equal(const Secret &one, const Secret &other)
{
    volatile unsigned difference = 0;
    for (size_t i = 0; i < one.size(); i++)
        difference = difference | std::to_integer<unsigned>(one[i] ^ other[i]);
    return difference == 0;
}

std::vector<std::byte> encodePreface(const Preface &preface)
{
    Writer out(ByteOrder::big);
    out.u64(prefaceMagic);
    out.u32(preface.version);
    out.u32(preface.flags);
    out.u32(preface.index);
    out.u32(preface.count);
    out.bytes(preface.secret);
    out.zeros(8);
    return out.take();
}

Result<Preface> decodePreface(std::span<const std::byte> raw)
{
    Reader in(raw, ByteOrder::big);
    if (TRY(in.u64()) != prefaceMagic)
        return makeError(ErrorCode::BadFormat, tr("the preface's magic is wrong"));
    Preface preface;
    preface.version = TRY(in.u32());
    if (preface.version != currentVersion)
        return makeError(ErrorCode::Unsupported, tr("preface version %u is not known"), preface.version);
    preface.flags = TRY(in.u32());
    preface.index = TRY(in.u32());
    preface.count = TRY(in.u32());
    if (preface.flags != 0 || preface.count > stream::maxConnections || preface.index >= preface.count)
        return makeError(ErrorCode::Unsupported, tr("connection %u of %u with flags 0x%x"), preface.index,
                         preface.count, preface.flags);
    const auto secret = TRY(in.bytes(secretSize));
    std::copy(secret.begin(), secret.end(), preface.secret.begin());
    TRY(in.zeros(8));
    TRY(in.atEnd());
    return preface;
}

std::vector<std::byte> encodeOutcome(OutcomeStatus status, const std::string &text)
{
    const std::string_view cut = std::string_view(text).substr(0, maxOutcomeText);
    Writer out(ByteOrder::big);
    out.u32(static_cast<uint32_t>(status));
    out.u32(static_cast<uint32_t>(cut.size()));
    out.text(cut);
    return out.take();
}

Result<OutcomeHeader> decodeOutcomeHeader(std::span<const std::byte> raw)
{
    Reader in(raw, ByteOrder::big);
    const uint32_t status = TRY(in.u32());
    if (status != static_cast<uint32_t>(OutcomeStatus::Restored)
        && status != static_cast<uint32_t>(OutcomeStatus::Failed))
        return makeError(ErrorCode::BadFormat, tr("the destination answers with the unknown status %u"), status);
    OutcomeHeader header{static_cast<OutcomeStatus>(status), TRY(in.u32())};
    if (header.textLength > maxOutcomeText)
        return makeError(ErrorCode::BadFormat, tr("the destination's answer claims %u bytes"), header.textLength);
    TRY(in.atEnd());
    return header;
}

} // namespace godwit::channel
