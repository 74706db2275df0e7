// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/bytes.h"

#include "base/i18n.h"

#include <algorithm>

namespace godwit::base {

Result<std::span<const std::byte>> Reader::bytes(size_t length)
{
    if (length > left())
        return makeError(ErrorCode::BadFormat, tr("ends at byte %zu, where %zu more are needed"),
                         data_.size(), length - left());
    const auto out = data_.subspan(offset_, length);
    offset_ += length;
    return out;
}

Result<void> Reader::zeros(size_t length)
{
    const size_t at = offset_;
    const auto reserved = TRY(bytes(length));
    if (std::ranges::any_of(reserved, [](std::byte byte) { return byte != std::byte{0}; }))
        return makeError(ErrorCode::BadFormat, tr("reserved bytes at byte %zu are not zero"), at);
    return {};
}

Result<void> Reader::atEnd() const
{
    if (left() > 0)
        return makeError(ErrorCode::BadFormat, tr("goes on for %zu bytes after its last field"), left());
    return {};
}

} // namespace godwit::base
