// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/driver/fake_test.h"

#include <map>

namespace godwit::tests {

using testing::HasSubstr;

static const char *const qcow2Xml = "<disk type='file'><driver name='qemu' type='qcow2'/><source file='DISK'/>"
                                   "<target dev='vda' bus='virtio'/></disk>";

class Query : public FakeHostsTest
{
protected:
    /// A running domain with a disk and a user network.
    DomainHandle start(Client &client)
    {
        std::string disk = qcow2Xml;
        disk.replace(disk.find("DISK"), 4, image());
        // The head of a qcow2 image of 1 GiB, in a file of 64 KiB.
        std::string head("QFI\xfb\0\0\0\3", 8);
        head.append(16, '\0').append("\0\0\0\0\x40\0\0\0", 8);
        writeFile(image(), head + std::string(65536 - head.size(), 'x'));
        auto domain = client.define(
            domainXml("web1", disk + "<interface type='user'><mac address='52:54:00:00:00:01'/></interface>"
                                     "<memballoon model='virtio'/>"));
        EXPECT_TRUE(domain) << lastError();
        EXPECT_EQ(virDomainCreate(domain.get()), 0) << lastError();
        return domain;
    }
    std::string image() const { return base() + "/disk.qcow2"; }
};

TEST_F(Query, InfoTellsMemoryVcpusAndTime)
{
    Client client(root());
    auto domain = start(client);
    virDomainInfo info;
    ASSERT_EQ(virDomainGetInfo(domain.get(), &info), 0);
    EXPECT_EQ(info.state, VIR_DOMAIN_RUNNING);
    EXPECT_EQ(info.maxMem, 65536u);
    EXPECT_EQ(info.memory, 65536u);
    EXPECT_EQ(info.nrVirtCpu, 1);
    virDomainControlInfo control;
    ASSERT_EQ(virDomainGetControlInfo(domain.get(), &control, 0), 0);
    EXPECT_EQ(control.state, static_cast<unsigned>(VIR_DOMAIN_CONTROL_OK));
    EXPECT_EQ(virDomainGetState(domain.get(), nullptr, nullptr, 1), -1);
}

TEST_F(Query, VcpusTellTimesAndAffinity)
{
    Client client(root());
    auto domain = start(client);
    virVcpuInfo info[2];
    unsigned char maps[2][8];
    ASSERT_EQ(virDomainGetVcpus(domain.get(), info, 2, maps[0], 8), 1) << lastError();
    EXPECT_EQ(info[0].number, 0u);
    EXPECT_EQ(info[0].state, VIR_VCPU_RUNNING);
    EXPECT_NE(maps[0][0], 0);
    ASSERT_EQ(virDomainDestroy(domain.get()), 0);
    EXPECT_EQ(virDomainGetVcpus(domain.get(), info, 2, nullptr, 0), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_INVALID, "not running"));
}

TEST_F(Query, BlockStatsByTargetByPathAndInSum)
{
    Client client(root());
    auto domain = start(client);
    for (const std::string &path : {std::string("vda"), image(), std::string()}) {
        virDomainBlockStatsStruct stats;
        ASSERT_EQ(virDomainBlockStats(domain.get(), path.c_str(), &stats, sizeof stats), 0) << path << lastError();
        EXPECT_EQ(stats.rd_req, 1);
        EXPECT_EQ(stats.wr_bytes, 1024);
        EXPECT_EQ(stats.errs, -1);
    }
    int count = 0;
    ASSERT_EQ(virDomainBlockStatsFlags(domain.get(), "vda", nullptr, &count, 0), 0);
    ASSERT_EQ(count, 8);
    virTypedParameter params[8];
    ASSERT_EQ(virDomainBlockStatsFlags(domain.get(), "vda", params, &count, 0), 0);
    long long value = 0;
    EXPECT_EQ(virTypedParamsGetLLong(params, count, VIR_DOMAIN_BLOCK_STATS_FLUSH_TOTAL_TIMES, &value), 1);
    EXPECT_EQ(value, 30);
    virDomainBlockStatsStruct stats;
    EXPECT_EQ(virDomainBlockStats(domain.get(), "vdz", &stats, sizeof stats), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_INVALID_ARG, "vdz"));
}

TEST_F(Query, BlockInfoReadsTheImage)
{
    Client client(root());
    auto domain = start(client);
    virDomainBlockInfo info;
    ASSERT_EQ(virDomainGetBlockInfo(domain.get(), "vda", &info, 0), 0) << lastError();
    EXPECT_EQ(info.capacity, 1ull << 30);
    EXPECT_EQ(info.physical, 65536u);
    std::filesystem::remove(image());
    EXPECT_EQ(virDomainGetBlockInfo(domain.get(), "vda", &info, 0), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_SYSTEM_ERROR, image()));
    EXPECT_EQ(virDomainGetBlockInfo(domain.get(), "vdz", &info, 0), -1);
}

TEST_F(Query, MemoryStatsComeFromBalloonAndProcess)
{
    Client client(root());
    auto domain = start(client);
    virDomainMemoryStatStruct stats[VIR_DOMAIN_MEMORY_STAT_NR];
    const int count = virDomainMemoryStats(domain.get(), stats, VIR_DOMAIN_MEMORY_STAT_NR, 0);
    ASSERT_EQ(count, 3) << lastError();
    std::map<int, unsigned long long> byTag;
    for (int i = 0; i < count; i++)
        byTag[stats[i].tag] = stats[i].val;
    EXPECT_EQ(byTag[VIR_DOMAIN_MEMORY_STAT_UNUSED], 1000u);
    EXPECT_GT(byTag[VIR_DOMAIN_MEMORY_STAT_RSS], 1000u);
    EXPECT_EQ(virDomainMemoryStats(domain.get(), stats, 1, 0), 1) << "no more than there is room for";
}

TEST_F(Query, InterfacesWithoutAHostEndHaveNoCounters)
{
    Client client(root());
    auto domain = start(client);
    virDomainInterfaceStatsStruct stats;
    EXPECT_EQ(virDomainInterfaceStats(domain.get(), "52:54:00:00:00:01", &stats, sizeof stats), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_CONFIG_UNSUPPORTED, "user"));
    EXPECT_EQ(virDomainInterfaceStats(domain.get(), "vnet7", &stats, sizeof stats), -1);
    virDomainInterfacePtr *interfaces = nullptr;
    EXPECT_EQ(virDomainInterfaceAddresses(domain.get(), &interfaces, VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT, 0), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_CONFIG_UNSUPPORTED, "agent"));
}

/// All parameters of a record, as text.
static std::map<std::string, std::string> paramsOf(virDomainStatsRecordPtr record)
{
    std::map<std::string, std::string> all;
    for (int i = 0; i < record->nparams; i++) {
        const virTypedParameter &param = record->params[i];
        switch (param.type) {
        case VIR_TYPED_PARAM_INT: all[param.field] = std::to_string(param.value.i); break;
        case VIR_TYPED_PARAM_UINT: all[param.field] = std::to_string(param.value.ui); break;
        case VIR_TYPED_PARAM_ULLONG: all[param.field] = std::to_string(param.value.ul); break;
        case VIR_TYPED_PARAM_BOOLEAN: all[param.field] = param.value.b ? "yes" : "no"; break;
        case VIR_TYPED_PARAM_STRING: all[param.field] = param.value.s; break;
        default: all[param.field] = "?";
        }
    }
    return all;
}

TEST_F(Query, BulkStatsOfAllDomainsAtOnce)
{
    Client client(root());
    auto domain = start(client);
    ASSERT_TRUE(client.define(domainXml("off")));
    virDomainStatsRecordPtr *records = nullptr;
    ASSERT_EQ(virConnectGetAllDomainStats(client, 0, &records, 0), 2) << lastError();
    std::map<std::string, std::map<std::string, std::string>> all;
    for (int i = 0; i < 2; i++)
        all[virDomainGetName(records[i]->dom)] = paramsOf(records[i]);
    virDomainStatsRecordListFree(records);

    auto &on = all["web1"];
    EXPECT_EQ(on["state.state"], "1");
    EXPECT_EQ(on["balloon.maximum"], "65536");
    EXPECT_EQ(on["balloon.unused"], "1000");
    EXPECT_EQ(on["vcpu.current"], "1");
    EXPECT_EQ(on["vcpu.0.state"], "1");
    EXPECT_EQ(on["vcpu.0.halted"], "no");
    EXPECT_EQ(on.count("cpu.time"), 1u);
    EXPECT_EQ(on["net.count"], "1");
    EXPECT_EQ(on["block.count"], "1");
    EXPECT_EQ(on["block.0.name"], "vda");
    EXPECT_EQ(on["block.0.path"], image());
    EXPECT_EQ(on["block.0.rd.bytes"], "512");
    EXPECT_EQ(on["block.0.fl.times"], "30");
    EXPECT_EQ(on["block.0.capacity"], "1073741824");
    auto &off = all["off"];
    EXPECT_EQ(off["state.state"], "5");
    EXPECT_EQ(off.count("vcpu.0.state"), 0u);
    EXPECT_EQ(off.count("cpu.time"), 0u);
}

TEST_F(Query, BulkStatsAreChosenByDomainStateAndGroup)
{
    Client client(root());
    auto domain = start(client);
    auto off = client.define(domainXml("off"));
    virDomainStatsRecordPtr *records = nullptr;
    ASSERT_EQ(virConnectGetAllDomainStats(client, VIR_DOMAIN_STATS_STATE, &records,
                                          VIR_CONNECT_GET_ALL_DOMAINS_STATS_INACTIVE |
                                              VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT),
              1);
    EXPECT_STREQ(virDomainGetName(records[0]->dom), "off");
    EXPECT_EQ(records[0]->nparams, 2);
    virDomainStatsRecordListFree(records);
    virDomainPtr one[] = {domain.get(), nullptr};
    ASSERT_EQ(virDomainListGetStats(one, VIR_DOMAIN_STATS_VCPU, &records, 0), 1);
    virDomainStatsRecordListFree(records);
    EXPECT_EQ(virConnectGetAllDomainStats(client, VIR_DOMAIN_STATS_PERF, &records,
                                          VIR_CONNECT_GET_ALL_DOMAINS_STATS_ENFORCE_STATS),
              -1);
    EXPECT_TRUE(failedWith(VIR_ERR_CONFIG_UNSUPPORTED, "0x40"));
}

TEST_F(Query, TheHostTellsOfItself)
{
    Client client(root());
    EXPECT_STREQ(virConnectGetType(client), "Godwit");
    unsigned long version = 0;
    EXPECT_EQ(virConnectGetVersion(client, &version), 0);
    EXPECT_EQ(version, 1002003u);
    EXPECT_FALSE(textOf(virConnectGetHostname(client)).empty());
    EXPECT_THAT(textOf(virConnectGetCapabilities(client)), HasSubstr("<domain type='qemu'/>"));
    EXPECT_THAT(textOf(virConnectGetDomainCapabilities(client, nullptr, nullptr, nullptr, nullptr, 0)),
                HasSubstr("<vcpu max='8'/>"));
    EXPECT_EQ(virConnectGetMaxVcpus(client, "QEMU"), 8);
    EXPECT_EQ(virConnectGetMaxVcpus(client, "vmware"), -1);
    virNodeInfo info;
    EXPECT_EQ(virNodeGetInfo(client, &info), 0) << lastError();
    EXPECT_GT(info.cpus, 0u);
    EXPECT_GT(virNodeGetFreeMemory(client), 0u);
    unsigned char *map = nullptr;
    EXPECT_GT(virNodeGetCPUMap(client, &map, nullptr, 0), 0);
    std::free(map);
    int count = 0;
    EXPECT_EQ(virNodeGetCPUStats(client, VIR_NODE_CPU_STATS_ALL_CPUS, nullptr, &count, 0), 0);
    EXPECT_GT(count, 0);
    count = 0;
    EXPECT_EQ(virNodeGetMemoryStats(client, VIR_NODE_MEMORY_STATS_ALL_CELLS, nullptr, &count, 0), 0);
    virSecurityModel model;
    EXPECT_EQ(virNodeGetSecurityModel(client, &model), 0);
    EXPECT_STREQ(model.model, "");
    char **models = nullptr;
    const int modelCount = virConnectGetCPUModelNames(client, "x86_64", &models, 0);
    EXPECT_GT(modelCount, 10);
    for (int i = 0; i < modelCount; i++)
        std::free(models[i]);
    std::free(models);
    EXPECT_EQ(virConnectGetCPUModelNames(client, "abacus", nullptr, 0), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_INVALID_ARG, "abacus"));
    EXPECT_EQ(virConnectIsAlive(client), 1);
    EXPECT_EQ(virConnectIsSecure(client), 1);
}

} // namespace godwit::tests
