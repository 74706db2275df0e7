// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/driver/fake_test.h"

namespace godwit::tests {

using testing::HasSubstr;

class Resources : public FakeHostsTest
{
};

// libvirt combines flags of different enumerations.
static constexpr unsigned live = VIR_DOMAIN_AFFECT_LIVE;
static constexpr unsigned config = VIR_DOMAIN_AFFECT_CONFIG;

static const char *const balloonXml = "<memballoon model='virtio'/>";

TEST_F(Resources, MemoryOfARunningDomainIsTheBalloons)
{
    Client client(root());
    auto domain = client.define(domainXml("web1", balloonXml));
    ASSERT_EQ(virDomainCreate(domain.get()), 0) << lastError();
    ASSERT_EQ(virDomainSetMemory(domain.get(), 32 * 1024), 0) << lastError();
    EXPECT_EQ(machine("web1")->balloonKib(), 32u * 1024);
    EXPECT_TRUE(client.sees("web1:balloon 32768"));
    virDomainInfo info;
    ASSERT_EQ(virDomainGetInfo(domain.get(), &info), 0);
    EXPECT_EQ(info.memory, 32u * 1024);
    EXPECT_EQ(info.maxMem, 64u * 1024);
    EXPECT_EQ(virDomainSetMemory(domain.get(), 65 * 1024), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_INVALID_ARG, "66560"));
    EXPECT_EQ(virDomainSetMemoryFlags(domain.get(), 128 * 1024, live | VIR_DOMAIN_MEM_MAXIMUM), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_INVALID, "running"));
    EXPECT_THAT(xmlOf(domain, VIR_DOMAIN_XML_INACTIVE), HasSubstr("<currentMemory unit='KiB'>65536"));
}

TEST_F(Resources, MemoryThatTheGuestDoesNotGiveIsAnErrorAndNotStored)
{
    Client client(root());
    auto domain = client.define(domainXml("web1", balloonXml));
    ASSERT_EQ(virDomainCreate(domain.get()), 0) << lastError();
    world().failNext("balloon", error("no balloon driver"));
    EXPECT_EQ(virDomainSetMemoryFlags(domain.get(), 32 * 1024, live | config), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_FAILED, "no balloon driver"));
    EXPECT_THAT(xmlOf(domain, VIR_DOMAIN_XML_INACTIVE), HasSubstr("<currentMemory unit='KiB'>65536"));
}

TEST_F(Resources, MemoryOfADefinitionIsKept)
{
    {
        Client client(root());
        auto domain = client.define(domainXml("web1", balloonXml));
        ASSERT_EQ(virDomainSetMaxMemory(domain.get(), 128 * 1024), 0) << lastError();
        ASSERT_EQ(virDomainSetMemoryFlags(domain.get(), 96 * 1024, config), 0) << lastError();
        EXPECT_EQ(virDomainSetMemory(domain.get(), 96 * 1024), -1);
        EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_INVALID, "not running"));
    }
    Client client(root());
    auto domain = client.lookup("web1");
    EXPECT_EQ(virDomainGetMaxMemory(domain.get()), 128u * 1024);
    EXPECT_THAT(xmlOf(domain), HasSubstr("<currentMemory unit='KiB'>98304"));
    ASSERT_EQ(virDomainSetMaxMemory(domain.get(), 64 * 1024), 0);
    EXPECT_THAT(xmlOf(domain), HasSubstr("<currentMemory unit='KiB'>65536")) << "never more than the maximum";
}

TEST_F(Resources, StatsPeriodNeedsABalloon)
{
    Client client(root());
    auto domain = client.define(domainXml("web1", balloonXml));
    ASSERT_EQ(virDomainCreate(domain.get()), 0);
    ASSERT_EQ(virDomainSetMemoryStatsPeriod(domain.get(), 5, live | config), 0)
        << lastError();
    EXPECT_THAT(xmlOf(domain), HasSubstr("<stats period='5'/>"));
    EXPECT_THAT(xmlOf(domain, VIR_DOMAIN_XML_INACTIVE), HasSubstr("<stats period='5'/>"));
    auto without = client.create(domainXml("web2", "<memballoon model='none'/>"));
    EXPECT_EQ(virDomainSetMemoryStatsPeriod(without.get(), 5, 0), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_INVALID, "balloon"));
}

TEST_F(Resources, VcpusChangeInTheDefinitionOnly)
{
    Client client(root());
    auto domain = client.define(domainXml("web1", "", "<vcpu>2</vcpu>"));
    EXPECT_EQ(virDomainGetVcpusFlags(domain.get(), config), 2);
    ASSERT_EQ(virDomainSetVcpusFlags(domain.get(), 4, config | VIR_DOMAIN_VCPU_MAXIMUM), 0);
    ASSERT_EQ(virDomainSetVcpusFlags(domain.get(), 3, config), 0) << lastError();
    EXPECT_EQ(virDomainGetVcpusFlags(domain.get(), config), 3);
    EXPECT_EQ(virDomainGetVcpusFlags(domain.get(), config | VIR_DOMAIN_VCPU_MAXIMUM), 4);
    EXPECT_EQ(virDomainSetVcpusFlags(domain.get(), 5, config), -1);
    EXPECT_EQ(virDomainSetVcpusFlags(domain.get(), 9, config | VIR_DOMAIN_VCPU_MAXIMUM), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_CONFIG_UNSUPPORTED, "8 vCPUs"));
    EXPECT_EQ(virDomainGetVcpusFlags(domain.get(), config | VIR_DOMAIN_VCPU_MAXIMUM), 4);

    ASSERT_EQ(virDomainCreate(domain.get()), 0);
    EXPECT_EQ(virDomainGetMaxVcpus(domain.get()), 4);
    EXPECT_EQ(virDomainSetVcpus(domain.get(), 2), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_CONFIG_UNSUPPORTED, "running"));
    ASSERT_EQ(virDomainSetVcpusFlags(domain.get(), 1, config), 0) << lastError();
    EXPECT_EQ(virDomainGetVcpusFlags(domain.get(), live), 3);
    EXPECT_EQ(virDomainGetVcpusFlags(domain.get(), config), 1);
}

TEST_F(Resources, PinsAreAppliedToThreadsAndKept)
{
    cpu_set_t before;
    ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
    Client client(root());
    auto domain = client.define(domainXml("web1"));
    ASSERT_EQ(virDomainCreate(domain.get()), 0);
    unsigned char cpu0[] = {1};
    unsigned char none[] = {0};
    ASSERT_EQ(virDomainPinVcpuFlags(domain.get(), 0, cpu0, 1, live | config), 0)
        << lastError();
    unsigned char maps[8] = {};
    ASSERT_EQ(virDomainGetVcpuPinInfo(domain.get(), 1, maps, 8, config), 1);
    EXPECT_EQ(maps[0], 1);
    EXPECT_EQ(virDomainPinVcpu(domain.get(), 7, cpu0, 1), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_INVALID_ARG, "vCPU 7"));
    EXPECT_EQ(virDomainPinVcpu(domain.get(), 0, none, 1), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_INVALID_ARG));
    maps[0] = 0;
    ASSERT_EQ(virDomainGetVcpuPinInfo(domain.get(), 1, maps, 8, live), 1);
    EXPECT_EQ(maps[0], 1);
    EXPECT_EQ(xmlOf(domain).find("cputune"), std::string::npos) << "it does not travel";
    EXPECT_EQ(virDomainGetEmulatorPinInfo(domain.get(), maps, 8, live), 1);
    ASSERT_EQ(virDomainPinEmulator(domain.get(), cpu0, 1, config), 0) << lastError();
    ASSERT_EQ(virDomainGetEmulatorPinInfo(domain.get(), maps, 8, config), 1);
    EXPECT_EQ(maps[0], 1);
    // The fake's vCPU was a thread of this program.
    ASSERT_EQ(sched_setaffinity(0, sizeof before, &before), 0);
}

TEST_F(Resources, WhatOnlyAHypervisorOfItsOwnHasIsRefusedByName)
{
    Client client(root());
    auto domain = client.define(domainXml("web1"));
    ASSERT_EQ(virDomainCreate(domain.get()), 0) << lastError();
    int count = 2;
    virTypedParameter params[2];
    EXPECT_EQ(virDomainGetSchedulerType(domain.get(), &count), nullptr);
    EXPECT_TRUE(failedWith(VIR_ERR_CONFIG_UNSUPPORTED, "scheduler"));
    count = 2;
    EXPECT_EQ(virDomainGetSchedulerParameters(domain.get(), params, &count), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_CONFIG_UNSUPPORTED, "scheduler"));
    EXPECT_EQ(virDomainCoreDump(domain.get(), "/nowhere/core", 0), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_CONFIG_UNSUPPORTED, "core dumps"));
    EXPECT_TRUE(machine("web1")->running());
    EXPECT_EQ(virDomainCoreDumpWithFormat(domain.get(), "/nowhere/core", VIR_DOMAIN_CORE_DUMP_FORMAT_KDUMP_ZLIB, 0), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_CONFIG_UNSUPPORTED, "format"));
}

TEST_F(Resources, TellWhatTheyUseOfTheHostsProcessors)
{
    Client client(root());
    auto domain = client.define(domainXml("web1"));
    virTypedParameter params[4]{};
    EXPECT_EQ(virDomainGetCPUStats(domain.get(), params, 1, -1, 1, 0), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_INVALID, "not running"));
    ASSERT_EQ(virDomainCreate(domain.get()), 0) << lastError();
    const int known = virDomainGetCPUStats(domain.get(), nullptr, 0, -1, 1, 0);
    ASSERT_GE(known, 1) << lastError();
    EXPECT_EQ(virDomainGetCPUStats(domain.get(), params, static_cast<unsigned>(known), -1, 1, 0), known) << lastError();
    EXPECT_STREQ(params[0].field, VIR_DOMAIN_CPU_STATS_CPUTIME);
    EXPECT_GE(virDomainGetCPUStats(domain.get(), nullptr, 0, 0, 0, 0), 1) << lastError();
    EXPECT_EQ(virDomainGetCPUStats(domain.get(), nullptr, 0, 0, 1, 0), 1) << lastError();
    EXPECT_EQ(virDomainGetCPUStats(domain.get(), params, 1, 0, 1, 0), 1) << lastError();
    EXPECT_STREQ(params[0].field, VIR_DOMAIN_CPU_STATS_CPUTIME);

    int count = 2;
    EXPECT_EQ(virDomainGetNumaParameters(domain.get(), params, &count, 0), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_CONFIG_UNSUPPORTED, "NUMA"));
}

} // namespace godwit::tests
