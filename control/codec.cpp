// SPDX-License-Identifier: LGPL-2.1-or-later
#include "control/codec.h"

#include "base/bytes.h"
#include "base/i18n.h"
#include "base/strprintf.h"

#include <algorithm>
#include <optional>

namespace godwit::control {

using namespace base;

namespace {

template <typename T>
inline constexpr bool isProse = std::is_same_v<T, Log> || std::is_same_v<T, Failed> ||
                                std::is_same_v<T, StateLoaded> || std::is_same_v<T, Abort> ||
                                std::is_same_v<T, Stalled>;

/// Writes field after field; the first failure is kept, what follows is not written.
class Encoder
{
public:
    explicit Encoder(bool cutStrings) : cutStrings_(cutStrings) {}

    void operator()(const char *, bool value) { out_.u8(value ? 1 : 0); }
    void operator()(const char *, uint32_t value) { out_.u32(value); }
    void operator()(const char *, uint64_t value) { out_.u64(value); }
    void operator()(const char *field, const std::string &value)
    {
        std::string_view text = value;
        if (text.size() > maxString && cutStrings_)
            text = text.substr(0, maxString);
        if (text.size() > maxString || text.find('\0') != text.npos)
            fail(field);
        out_.u32(static_cast<uint32_t>(text.size()));
        out_.text(text);
    }
    template <typename Enum>
        requires std::is_enum_v<Enum>
    void operator()(const char *, Enum value)
    {
        out_.u32(static_cast<uint32_t>(value));
    }
    template <typename Item>
    void operator()(const char *field, const std::vector<Item> &items)
    {
        if (items.size() > maxItems)
            return fail(field);
        out_.u32(static_cast<uint32_t>(items.size()));
        for (const Item &item : items)
            Item::fields(item, *this);
    }
    void operator()(const char *, const Progress &value) { Progress::fields(value, *this); }
    void operator()(const char *, const Tls &value) { Tls::fields(value, *this); }
    void operator()(const char *, const ImageIndex &value) { ImageIndex::fields(value, *this); }
    void operator()(const char *, const PageSource &value) { PageSource::fields(value, *this); }

    Result<std::vector<std::byte>> take()
    {
        if (badField_)
            return makeError(ErrorCode::Internal, "field '%s' is beyond its limit", badField_);
        return out_.take();
    }

private:
    void fail(const char *field)
    {
        if (!badField_)
            badField_ = field;
    }

    bool cutStrings_;
    const char *badField_ = nullptr;
    Writer out_;
};

/// Reads field after field; after the first failure the rest stays as it was.
class Decoder
{
public:
    explicit Decoder(std::span<const std::byte> payload) : in_(payload) {}

    void operator()(const char *field, bool &value)
    {
        if (auto byte = take(field, in_.u8())) {
            if (*byte > 1)
                fail(field, makeError(ErrorCode::BadFormat, tr("is no truth value")));
            value = *byte == 1;
        }
    }
    void operator()(const char *field, uint32_t &value) { value = take(field, in_.u32()).value_or(0); }
    void operator()(const char *field, uint64_t &value) { value = take(field, in_.u64()).value_or(0); }
    void operator()(const char *field, std::string &value)
    {
        const auto length = take(field, in_.u32());
        if (!length)
            return;
        if (*length > maxString)
            return fail(field, makeError(ErrorCode::BadFormat, tr("is %u bytes long"), *length));
        const auto text = take(field, in_.bytes(*length));
        if (!text)
            return;
        value = asText(*text);
        if (value.find('\0') != value.npos)
            fail(field, makeError(ErrorCode::BadFormat, tr("has a NUL inside")));
    }
    /// The other end is of the same installation, but a crash may make it say anything.
    void operator()(const char *field, ErrorCode &value)
    {
        const uint32_t code = take(field, in_.u32()).value_or(0);
        const bool known = code != 0 && code <= static_cast<uint32_t>(ErrorCode::NoSupport);
        value = known ? static_cast<ErrorCode>(code) : ErrorCode::Internal;
    }
    template <typename Enum>
        requires std::is_enum_v<Enum>
    void operator()(const char *field, Enum &value)
    {
        const auto number = take(field, in_.u32());
        if (!number)
            return;
        if (*number == 0 || *number > static_cast<uint32_t>(Enum::Last))
            return fail(field, makeError(ErrorCode::BadFormat, tr("has the unknown value %u"), *number));
        value = static_cast<Enum>(*number);
    }
    template <typename Item>
    void operator()(const char *field, std::vector<Item> &items)
    {
        const auto count = take(field, in_.u32());
        if (!count)
            return;
        if (*count > maxItems)
            return fail(field, makeError(ErrorCode::BadFormat, tr("has %u items"), *count));
        for (uint32_t i = 0; i < *count && !error_; i++)
            Item::fields(items.emplace_back(), *this);
    }
    void operator()(const char *, Progress &value) { Progress::fields(value, *this); }
    void operator()(const char *, Tls &value) { Tls::fields(value, *this); }
    void operator()(const char *, ImageIndex &value) { ImageIndex::fields(value, *this); }
    void operator()(const char *, PageSource &value) { PageSource::fields(value, *this); }

    Result<void> finish()
    {
        if (error_)
            return *error_;
        return in_.atEnd();
    }

private:
    void fail(const char *field, Error error)
    {
        if (!error_)
            error_ = error.in(field);
    }
    template <typename Value>
    std::optional<Value> take(const char *field, Result<Value> result)
    {
        if (error_)
            return {};
        if (!result) {
            fail(field, std::move(result).error());
            return {};
        }
        return std::move(result).value();
    }

    Reader in_;
    std::optional<Error> error_;
};

template <typename Body>
Result<Message> decodeBody(std::span<const std::byte> payload)
{
    Body body;
    Decoder decoder(payload);
    Body::fields(body, decoder);
    TRY_IN(strprintf(tr("helper message %s"), Body::name), decoder.finish());
    return Message(std::move(body));
}

template <size_t index = 0>
Result<Message> decodeType(uint32_t type, std::span<const std::byte> payload)
{
    if constexpr (index == std::variant_size_v<Message>) {
        return makeError(ErrorCode::BadFormat, tr("helper message of unknown type %u"), type);
    } else {
        using Body = std::variant_alternative_t<index, Message>;
        if (type == Body::type)
            return decodeBody<Body>(payload);
        return decodeType<index + 1>(type, payload);
    }
}

} // namespace

Result<std::vector<std::byte>> encode(const Message &message)
{
    return std::visit([]<typename Body>(const Body &body) -> Result<std::vector<std::byte>> {
        Encoder encoder(isProse<Body>);
        Body::fields(body, encoder);
        const auto payload = TRY_IN(strprintf("helper message %s", Body::name), encoder.take());
        if (payload.size() > maxFrame - frameHeaderSize)
            return makeError(ErrorCode::Internal, "helper message %s is %zu bytes long", Body::name, payload.size());
        Writer frame;
        frame.u32(static_cast<uint32_t>(payload.size()));
        frame.u32(Body::type);
        frame.bytes(payload);
        return frame.take();
    }, message);
}

Result<Message> decode(std::span<const std::byte> frame)
{
    if (frame.size() > maxFrame)
        return makeError(ErrorCode::BadFormat, tr("helper message of %zu bytes"), frame.size());
    Reader in(frame);
    const uint32_t length = TRY_IN(tr("helper message"), in.u32());
    const uint32_t type = TRY_IN(tr("helper message"), in.u32());
    if (length != in.left())
        return makeError(ErrorCode::BadFormat, tr("helper message claims %u bytes and has %zu"), length, in.left());
    return decodeType(type, frame.subspan(frameHeaderSize));
}

const char *nameOf(const Message &message)
{
    return std::visit([]<typename Body>(const Body &) { return Body::name; }, message);
}

size_t fdCountOf(const Message &message)
{
    return std::visit([]<typename Body>(const Body &body) {
        if constexpr (requires { body.furtherFds(); })
            return Body::fdCount + body.furtherFds();
        else
            return Body::fdCount;
    }, message);
}

} // namespace godwit::control
