// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.h"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

namespace godwit::base {

using ByteOrder = std::endian;

/// An integer from or to `order`; its own inverse.
template <typename Number>
constexpr Number reordered(Number number, ByteOrder order)
{
    static_assert(std::is_unsigned_v<Number>);
    if (order == ByteOrder::native)
        return number;
    if constexpr (sizeof(Number) == 2)
        return __builtin_bswap16(number);
    else if constexpr (sizeof(Number) == 4)
        return __builtin_bswap32(number);
    else if constexpr (sizeof(Number) == 8)
        return __builtin_bswap64(number);
    else
        return number;
}

/// A cursor over bytes that somebody else wrote: it owns bounds and byte order.
/// Errors say where they happened, counted from the first byte of the span.
class Reader
{
public:
    explicit Reader(std::span<const std::byte> data, ByteOrder order = ByteOrder::little)
        : data_(data), order_(order)
    {
    }

    Result<uint8_t> u8() { return number<uint8_t>(); }
    Result<uint16_t> u16() { return number<uint16_t>(); }
    Result<uint32_t> u32() { return number<uint32_t>(); }
    Result<uint64_t> u64() { return number<uint64_t>(); }
    /// The next `length` bytes, still owned by whoever owns the span.
    Result<std::span<const std::byte>> bytes(size_t length);
    /// Reserved bytes, which must be zero.
    Result<void> zeros(size_t length);
    Result<void> atEnd() const;

    size_t offset() const { return offset_; }
    size_t left() const { return data_.size() - offset_; }

private:
    template <typename Number>
    Result<Number> number()
    {
        const auto raw = TRY(bytes(sizeof(Number)));
        Number value{};
        __builtin_memcpy(&value, raw.data(), sizeof value);
        return reordered(value, order_);
    }

    std::span<const std::byte> data_;
    ByteOrder order_;
    size_t offset_ = 0;
};

/// Bytes being written, in one order.
class Writer
{
public:
    explicit Writer(ByteOrder order = ByteOrder::little) : order_(order) {}

    void u8(uint8_t value) { number(value); }
    void u16(uint16_t value) { number(value); }
    void u32(uint32_t value) { number(value); }
    void u64(uint64_t value) { number(value); }
    void bytes(std::span<const std::byte> data) { out_.insert(out_.end(), data.begin(), data.end()); }
    void text(std::string_view text) { bytes(std::as_bytes(std::span(text))); }
    void zeros(size_t length) { out_.resize(out_.size() + length); }

    std::span<const std::byte> data() const { return out_; }
    size_t size() const { return out_.size(); }
    std::vector<std::byte> take() { return std::move(out_); }

private:
    template <typename Number>
    void number(Number value)
    {
        const Number ordered = reordered(value, order_);
        bytes(std::as_bytes(std::span(&ordered, 1)));
    }

    ByteOrder order_;
    std::vector<std::byte> out_;
};

/// Bytes as text, for comparing and copying.
inline std::string_view asText(std::span<const std::byte> data)
{
    return {reinterpret_cast<const char *>(data.data()), data.size()};
}

} // namespace godwit::base
