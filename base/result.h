// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/error.h"

#include <cassert>
#include <utility>
#include <variant>

namespace godwit::base {

/// A value or an Error; std::expected's names, and never dropped silently.
template <typename T>
class [[nodiscard]] Result
{
public:
    using value_type = T;

    Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

    /// From a Result of something convertible (a derived class's owner, say).
    template <typename U>
        requires(!std::is_same_v<T, U> && std::is_convertible_v<U, T>)
    Result(Result<U> other)
        : state_(other ? State(std::in_place_index<0>, std::move(other).value())
                       : State(std::in_place_index<1>, std::move(other).error()))
    {
    }

    bool has_value() const { return state_.index() == 0; }
    explicit operator bool() const { return has_value(); }

    T &value() & { return std::get<0>(state_); }
    const T &value() const & { return std::get<0>(state_); }
    T &&value() && { return std::get<0>(std::move(state_)); }
    T &operator*() & { return value(); }
    const T &operator*() const & { return value(); }
    T *operator->() { return &value(); }
    const T *operator->() const { return &value(); }

    Error &error() & { return std::get<1>(state_); }
    const Error &error() const & { return std::get<1>(state_); }
    Error &&error() && { return std::get<1>(std::move(state_)); }

    template <typename U>
    T value_or(U &&other) const &
    {
        return has_value() ? value() : static_cast<T>(std::forward<U>(other));
    }

private:
    using State = std::variant<T, Error>;
    State state_;
};

template <>
class [[nodiscard]] Result<void>
{
public:
    using value_type = void;

    Result() = default;
    Result(Error error) : failed_(true), error_(std::move(error)) {}

    bool has_value() const { return !failed_; }
    explicit operator bool() const { return has_value(); }
    void value() const { assert(!failed_); }

    Error &error() & { return error_; }
    const Error &error() const & { return error_; }
    Error &&error() && { return std::move(error_); }

private:
    bool failed_ = false;
    Error error_;
};

/// The value of `expression`, or return its error from the calling function.
#define TRY(expression)                                    \
    __extension__({                                        \
        auto try_result_ = (expression);                   \
        if (!try_result_.has_value())                      \
            return std::move(try_result_).error();         \
        std::move(try_result_).value();                    \
    })

/// TRY, with context (a std::string or literal) put in front of the error's message.
#define TRY_IN(context, expression)                        \
    __extension__({                                        \
        auto try_result_ = (expression);                   \
        if (!try_result_.has_value())                      \
            return std::move(try_result_).error().in(context); \
        std::move(try_result_).value();                    \
    })

} // namespace godwit::base
