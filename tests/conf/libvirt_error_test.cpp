// SPDX-License-Identifier: LGPL-2.1-or-later
#include "conf/libvirt_error.h"

#include <gtest/gtest.h>

namespace godwit::conf {

using base::Error;
using base::ErrorCode;
using base::makeError;

/// libvirt's errors belong to threads: nothing of it works before this.
class Libvirt : public testing::Environment
{
    void SetUp() override { ASSERT_EQ(virInitialize(), 0); }
};
static testing::Environment *const libvirt = testing::AddGlobalTestEnvironment(new Libvirt);

static const virError *raised(const Error &error)
{
    virSetErrorFunc(nullptr, [](void *, virErrorPtr) {});
    virResetLastError();
    raise(error);
    return virGetLastError();
}

TEST(LibvirtError, EveryCodeHasItsNumber)
{
    const std::pair<ErrorCode, int> numbers[] = {
        {ErrorCode::Internal, VIR_ERR_INTERNAL_ERROR},        {ErrorCode::System, VIR_ERR_SYSTEM_ERROR},
        {ErrorCode::InvalidArgument, VIR_ERR_INVALID_ARG},    {ErrorCode::Unsupported, VIR_ERR_CONFIG_UNSUPPORTED},
        {ErrorCode::OperationInvalid, VIR_ERR_OPERATION_INVALID},
        {ErrorCode::OperationFailed, VIR_ERR_OPERATION_FAILED}, {ErrorCode::NoDomain, VIR_ERR_NO_DOMAIN},
        {ErrorCode::TimedOut, VIR_ERR_OPERATION_TIMEOUT},     {ErrorCode::Aborted, VIR_ERR_OPERATION_ABORTED},
        {ErrorCode::NoSupport, VIR_ERR_NO_SUPPORT},
    };
    for (const auto &[code, number] : numbers) {
        const virError *error = raised(makeError(code, "100%% of %s", "it"));
        ASSERT_NE(error, nullptr);
        EXPECT_EQ(error->code, number);
        EXPECT_NE(std::string(error->message).find("100% of it"), std::string::npos) << error->message;
    }
}

TEST(LibvirtError, OfLibvirtComesBackAsItWas)
{
    virReportErrorHelper(VIR_FROM_NETWORK, VIR_ERR_NO_NETWORK, "", "", 0, "%s", "gone");
    const std::string message = virGetLastErrorMessage();
    const Error taken = takeLibvirtError();
    EXPECT_EQ(taken.code, ErrorCode::Libvirt);
    EXPECT_EQ(virGetLastErrorCode(), VIR_ERR_OK) << "it was taken";
    const virError *error = raised(taken.in("doing %s"));
    EXPECT_EQ(error->code, VIR_ERR_NO_NETWORK);
    EXPECT_EQ(error->domain, VIR_FROM_NETWORK);
    EXPECT_EQ(error->message, "doing %s: " + message) << "never used as a format";
}

TEST(LibvirtError, ThatWasNotRaisedIsOneToo)
{
    virResetLastError();
    EXPECT_EQ(takeLibvirtError().code, ErrorCode::Internal);
    EXPECT_FALSE(check(-1));
    EXPECT_TRUE(check(0));
    EXPECT_FALSE(check(static_cast<char *>(nullptr)));
}

} // namespace godwit::conf
