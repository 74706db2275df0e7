// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// The border between libvirt's C convention and ours. The API tables hold entry<function>,
// a noexcept adapter that turns Result<T> function(…) into what libvirt expects, raises the
// error once and lets no exception through. A bare function does not compile there.

#include "base/i18n.h"
#include "base/result.h"
#include "conf/handle.h"
#include "conf/libvirt_error.h"

#include <exception>

namespace godwit::driver {

/// What a C function returns for T, and how it says "failed".
template <typename T>
struct Convention;

template <>
struct Convention<void> {
    using Type = int;
    static constexpr Type failed = -1;
};
template <>
struct Convention<int> {
    using Type = int;
    static constexpr Type failed = -1;
    static Type give(int value) { return value; }
};
template <>
struct Convention<unsigned long long> {
    using Type = unsigned long long;
    static constexpr Type failed = 0;
    static Type give(unsigned long long value) { return value; }
};
template <typename T>
struct Convention<T *> {
    using Type = T *;
    static constexpr Type failed = nullptr;
    static Type give(T *value) { return value; }
};
template <>
struct Convention<conf::Text> {
    using Type = char *;
    static constexpr Type failed = nullptr;
    static Type give(conf::Text value) { return value.release(); }
};

template <auto Function, typename Signature = decltype(Function)>
struct Entry;

template <auto Function, typename T, typename... Arguments>
struct Entry<Function, base::Result<T> (*)(Arguments...)> {
    static typename Convention<T>::Type call(Arguments... arguments) noexcept
    {
        try {
            base::Result<T> result = Function(arguments...);
            if (result) {
                if constexpr (std::is_void_v<T>)
                    return 0;
                else
                    return Convention<T>::give(std::move(result).value());
            }
            conf::raise(result.error());
        } catch (const std::exception &exception) {
            conf::raise(makeError(base::ErrorCode::Internal, base::tr("unexpected failure: %s"), exception.what()));
        }
        return Convention<T>::failed;
    }
};

/// `function` as libvirt calls it.
template <auto Function>
inline constexpr auto entry = &Entry<Function>::call;

} // namespace godwit::driver
