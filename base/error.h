// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <string>

namespace godwit::base {

/// What kind of failure it is. The driver maps each to libvirt's error number;
/// the wire protocols carry the number, so existing values never change.
enum class ErrorCode : unsigned {
    Invalid = 0,
    Internal = 1,           ///< a bug of ours, or a peer that broke its protocol
    System = 2,             ///< a system call failed: errnum says why
    InvalidArgument = 3,    ///< a parameter makes no sense
    Unsupported = 4,        ///< the configuration asks for something we do not do
    OperationInvalid = 5,   ///< not in this state
    OperationFailed = 6,    ///< the thing was tried and did not work
    NoDomain = 7,
    DomainExists = 8,
    TimedOut = 9,
    Aborted = 10,           ///< a user or a client stopped it
    BadFormat = 11,         ///< a stream, image or message breaks its format
    NoSupport = 12,         ///< the API function is not offered
    Libvirt = 13,           ///< raised by libvirt itself: `native` has its number
};

/// One failure, told once, to a person. `message` is complete in itself and
/// translated; context is put in front of it on the way up.
struct Error {
    ErrorCode code = ErrorCode::Internal;
    std::string message;
    int errnum = 0;   ///< errno, for ErrorCode::System
    int native = 0;   ///< virErrorNumber, for ErrorCode::Libvirt
    int domain = 0;   ///< virErrorDomain, for ErrorCode::Libvirt

    /// The same error with "context: " in front of its message.
    [[nodiscard]] Error in(const std::string &context) const
    {
        Error out = *this;
        out.message = context + ": " + message;
        return out;
    }
};

/// Build an error from a printf format.
[[gnu::format(printf, 2, 3)]] Error makeError(ErrorCode code, const char *format, ...);

/// Build an ErrorCode::System error; ": " and the text of `errnum` are appended.
[[gnu::format(printf, 2, 3)]] Error systemError(int errnum, const char *format, ...);

} // namespace godwit::base
