// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/driver/two_hosts.h"

namespace godwit::tests {

DomainHandle TwoHosts::start(unsigned flags)
{
    auto domain = a.define(domainXml("web1"));
    EXPECT_EQ(virDomainCreateWithFlags(domain.get(), flags), 0) << lastError();
    machine("web1", "a")->setMemory("what the guest remembers");
    return domain;
}

DomainHandle TwoHosts::startWith(const std::string &devices)
{
    auto domain = a.create(domainXml("web1", devices));
    EXPECT_TRUE(domain) << lastError();
    machine("web1", "a")->setMemory("what the guest remembers");
    return domain;
}

void TwoHosts::expectOnlyOnSource(const DomainHandle &domain, const std::string &what)
{
    EXPECT_EQ(stateOf(domain).substr(0, 7), "running") << what;
    EXPECT_TRUE(machine("web1", "a")->running()) << what;
    EXPECT_EQ(machine("web1", "a")->memory(), "what the guest remembers") << what;
    EXPECT_EQ(b.names(), "") << what;
    EXPECT_EQ(world().aliveCount(), 1u) << what;
    EXPECT_THAT(leftovers("b"), testing::IsEmpty()) << what;
    virDomainJobInfo job;
    EXPECT_EQ(virDomainGetJobInfo(domain.get(), &job), 0) << what;
    EXPECT_EQ(job.type, VIR_DOMAIN_JOB_NONE) << what;
    ASSERT_EQ(virDomainSetMetadata(domain.get(), VIR_DOMAIN_METADATA_TITLE, "free", nullptr, nullptr, 0), 0)
        << what << ": no job is left behind: " << lastError();
}

} // namespace godwit::tests
