// SPDX-License-Identifier: LGPL-2.1-or-later
#include "conf/libvirt_error.h"

#include "base/i18n.h"

namespace godwit::conf {

using base::Error;
using base::ErrorCode;

Error takeLibvirtError()
{
    virErrorPtr last = virGetLastError();
    if (!last || last->code == VIR_ERR_OK)
        return makeError(ErrorCode::Internal, "%s", base::tr("libvirt failed without saying why"));
    Error error{ErrorCode::Libvirt, last->message ? last->message : "", 0, last->code, last->domain};
    virResetLastError();
    return error;
}

static int errorNumber(ErrorCode code)
{
    switch (code) {
    case ErrorCode::System: return VIR_ERR_SYSTEM_ERROR;
    case ErrorCode::InvalidArgument: return VIR_ERR_INVALID_ARG;
    case ErrorCode::Unsupported: return VIR_ERR_CONFIG_UNSUPPORTED;
    case ErrorCode::OperationInvalid: return VIR_ERR_OPERATION_INVALID;
    case ErrorCode::OperationFailed: return VIR_ERR_OPERATION_FAILED;
    case ErrorCode::NoDomain: return VIR_ERR_NO_DOMAIN;
    case ErrorCode::DomainExists: return VIR_ERR_OPERATION_FAILED;
    case ErrorCode::TimedOut: return VIR_ERR_OPERATION_TIMEOUT;
    case ErrorCode::Aborted: return VIR_ERR_OPERATION_ABORTED;
    case ErrorCode::BadFormat: return VIR_ERR_OPERATION_FAILED;
    case ErrorCode::NoSupport: return VIR_ERR_NO_SUPPORT;
    case ErrorCode::Invalid:
    case ErrorCode::Internal:
    case ErrorCode::Libvirt: break;
    }
    return VIR_ERR_INTERNAL_ERROR;
}

void raise(const Error &error)
{
    if (error.code == ErrorCode::Libvirt) {
        // Its message already has libvirt's own preamble.
        virRaiseErrorFull("", "", 0, error.domain, error.native, VIR_ERR_ERROR,
                          error.message.c_str(), nullptr, nullptr, 0, 0, "%s", error.message.c_str());
        return;
    }
    virReportErrorHelper(VIR_FROM_THIS, errorNumber(error.code), "", "", 0, "%s",
                         error.message.c_str());
}

} // namespace godwit::conf
