// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Golden pairs: machine/NAME.xml becomes machine/NAME.args. GODWIT_REGENERATE=1 writes the
// .args files anew: read the difference before you commit it.
#include "hypervisor/machine/definition.h"
#include "hypervisor/machine/memory_layout.h"
#include "tests/hypervisor/definition.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace godwit::hypervisor::machine {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;

std::vector<std::string> goldenNames()
{
    std::vector<std::string> names;
    for (const auto &entry : std::filesystem::directory_iterator(GODWIT_GOLDEN)) {
        if (entry.path().extension() == ".xml")
            names.push_back(entry.path().stem());
    }
    std::sort(names.begin(), names.end());
    return names;
}

std::string goldenPath(const std::string &name, const char *suffix)
{
    return std::string(GODWIT_GOLDEN) + "/" + name + suffix;
}

class Golden : public testing::TestWithParam<std::string>
{
};

TEST_P(Golden, BecomesItsArguments)
{
    const auto built = commandLineOf(readText(goldenPath(GetParam(), ".xml")));
    ASSERT_TRUE(built) << built.error().message;
    const std::string expected = goldenPath(GetParam(), ".args");
    if (getenv("GODWIT_REGENERATE"))
        std::ofstream(expected) << *built;
    EXPECT_EQ(*built, readText(expected));
}

// What dumpxml shows is the same machine: what a migration's destination makes of it.
TEST_P(Golden, IsTheSameMachineAfterAFormat)
{
    const std::string xml = readText(goldenPath(GetParam(), ".xml"));
    auto def = parseDomain(xml);
    ASSERT_TRUE(def) << def.error().message;
    const auto before = commandLineOf(xml);
    const auto after = commandLineOf(formatDomain(def->get()));
    ASSERT_TRUE(after) << after.error().message;
    EXPECT_EQ(*before, *after);
}

INSTANTIATE_TEST_SUITE_P(Machine, Golden, testing::ValuesIn(goldenNames()),
                         [](const auto &test) {
                             std::string name = test.param;
                             std::replace(name.begin(), name.end(), '-', '_');
                             return name;
                         });

/// The value of an option's first occurrence.
std::string valueOf(const CommandLine &line, const std::string &option)
{
    const auto at = std::find(line.arguments.begin(), line.arguments.end(), option);
    return at == line.arguments.end() || at + 1 == line.arguments.end() ? "" : at[1];
}

CommandLine build(const std::string &xml, const std::function<void(CommandLineInputs &)> &change = {})
{
    auto def = parseDomain(xml);
    EXPECT_TRUE(def) << def.error().message;
    if (!def || !assignAliases(def->get()))
        return {};
    CommandLineInputs inputs = sampleInputs(def->get());
    if (change)
        change(inputs);
    auto line = buildCommandLine(def->get(), inputs);
    EXPECT_TRUE(line) << line.error().message;
    return line ? *line : CommandLine{};
}

TEST(CommandLine, WaitsForAStreamWhenThereIsOne)
{
    EXPECT_THAT(build(sampleDomain({})).arguments, Not(Contains("-incoming")));
    EXPECT_EQ(valueOf(build(sampleDomain({}), [](auto &inputs) { inputs.incoming = true; }), "-incoming"), "defer");
}

TEST(CommandLine, NamesTheFdsThatQemuInherits)
{
    const CommandLine line = build(sampleDomain({.devices = "<interface type='user'/><interface type='ethernet'/>"}));
    EXPECT_THAT(line.fds, testing::UnorderedElementsAre(20, 21, 31));
}

TEST(CommandLine, PreloadsTheAgent)
{
    const CommandLine line = build(sampleDomain({}), [](auto &inputs) {
        inputs.launcher = "/usr/lib/launch";
        inputs.agent = "/usr/lib/agent.so";
        inputs.ramId = "1:2";
    });
    EXPECT_THAT(line.launch, testing::ElementsAre("/usr/lib/launch", "/usr/lib/agent.so", "1:2"));
    EXPECT_THAT(build(sampleDomain({})).launch, testing::IsEmpty());
}

TEST(CommandLine, DoublesCommasInValues)
{
    const CommandLine line = build(sampleDomain({.devices = "<disk type='file'><source file='/a,b=c.raw'/>"
                                                            "<target dev='vda' bus='virtio'/></disk>"}));
    EXPECT_THAT(valueOf(line, "-blockdev"), HasSubstr("filename=/a,,b=c.raw,node-name="));
}

TEST(CommandLine, SetsAVariableClockFromTheMomentOfStart)
{
    const std::string xml = sampleDomain({.top = "<clock offset='variable' adjustment='3600' basis='utc'/>"});
    EXPECT_EQ(valueOf(build(xml), "-rtc"), "base=2001-09-09T02:46:40");
}

TEST(CommandLine, RefusesASocketPathThatQemuCouldNotBind)
{
    auto def = parseDomain(sampleDomain({.devices = "<channel type='unix'><target type='virtio' name='a'/></channel>"}));
    ASSERT_TRUE(def) << def.error().message;
    ASSERT_TRUE(assignAliases(def->get()));
    CommandLineInputs inputs = sampleInputs(def->get());
    inputs.runDir = "/" + std::string(107, 'x');
    const auto line = buildCommandLine(def->get(), inputs);
    ASSERT_FALSE(line);
    EXPECT_EQ(line.error().code, base::ErrorCode::InvalidArgument);
    EXPECT_THAT(line.error().message, HasSubstr("is too long"));
}

TEST(Addresses, StayWhereTheyWereWhenADeviceIsAdded)
{
    auto def = parseDomain(sampleDomain({.devices = "<interface type='user'/><rng model='virtio'><backend "
                                                    "model='random'>/dev/urandom</backend></rng>"}));
    ASSERT_TRUE(def) << def.error().message;
    std::string xml = formatDomain(def->get());
    const unsigned slot = (*def)->rngs[0]->info.addr.pci.slot;
    xml.insert(xml.find("<interface"), "<disk type='file'><source file='/a'/><target dev='vda' bus='virtio'/></disk>");
    auto grown = parseDomain(xml);
    ASSERT_TRUE(grown) << grown.error().message;
    EXPECT_EQ((*grown)->rngs[0]->info.addr.pci.slot, slot);
    EXPECT_NE((*grown)->disks[0]->info.addr.pci.slot, slot);
}

TEST(Addresses, OfTwoDevicesInOneSlotAreRefused)
{
    const char *address = "<address type='pci' domain='0' bus='0' slot='9' function='0'/>";
    const std::string nic = std::string("<interface type='user'>") + address + "</interface>";
    const auto def = parseDomain(sampleDomain({.devices = (nic + nic).c_str()}));
    ASSERT_FALSE(def);
    EXPECT_THAT(def.error().message, HasSubstr("0000:00:09.0"));
}

TEST(Addresses, RunOutWithAClearError)
{
    std::string nics;
    for (int i = 0; i < 32; i++)
        nics += "<interface type='user'/>";
    const auto def = parseDomain(sampleDomain({.devices = nics.c_str()}));
    ASSERT_FALSE(def);
    EXPECT_THAT(def.error().message, HasSubstr("no PCI slot is left"));
}

TEST(Aliases, AreTheUsersWhereHeGaveThem)
{
    auto def = parseDomain(sampleDomain({.devices = "<interface type='user'><alias name='ua-mine'/></interface>"
                                                    "<interface type='user'/>"}));
    ASSERT_TRUE(def) << def.error().message;
    ASSERT_TRUE(assignAliases(def->get()));
    EXPECT_STREQ((*def)->nets[0]->info.alias, "ua-mine");
    EXPECT_STREQ((*def)->nets[1]->info.alias, "net1");
}

TEST(MemoryLayout, LeavesAGapBelowFourGiB)
{
    const auto small = memoryLayout(uint64_t{512} << 20);
    ASSERT_EQ(small.size(), 1u);
    EXPECT_EQ(small[0].pages, 131072u);
    const auto big = memoryLayout(uint64_t{3} << 30);
    ASSERT_EQ(big.size(), 2u);
    EXPECT_EQ(big[1].firstPfn, 0x100000u);
    EXPECT_EQ(big[1].ramOffset, uint64_t{2} << 30);
    EXPECT_EQ(big[1].pages, 262144u);
}

} // namespace
} // namespace godwit::hypervisor::machine
