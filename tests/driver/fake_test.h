// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "tests/domain/fake_world.h"
#include "tests/driver/client.h"

namespace godwit::tests {

/// Hosts whose guests are fakes.
class FakeHostsTest : public HostsTest
{
protected:
    FakeHostsTest() { world().reset(); }
    ~FakeHostsTest() override { world().releaseSaves(); }

    FakeWorld &world() { return FakeWorld::get(); }
    std::shared_ptr<FakeMachine> machine(const std::string &name, const std::string &host = "a")
    {
        return world().machine(root(host), name);
    }
    static base::Error error(const char *text)
    {
        return base::makeError(base::ErrorCode::OperationFailed, "%s", text);
    }
    /// Nothing is left of a guest below a host's root.
    std::vector<std::string> leftovers(const std::string &host = "a") const;
};

/// What virDomainGetJobStats() says.
struct Stats {
    int type = -1;
    int count = 0;
    virTypedParameterPtr params = nullptr;

    Stats(const DomainHandle &domain, unsigned flags)
    {
        EXPECT_EQ(virDomainGetJobStats(domain.get(), &type, &params, &count, flags), 0) << lastError();
    }
    ~Stats() { virTypedParamsFree(params, count); }
    unsigned long long operator[](const char *name) const
    {
        unsigned long long value = ~0ull;
        virTypedParamsGetULLong(params, count, name, &value);
        return value;
    }
};

} // namespace godwit::tests
