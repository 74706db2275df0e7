// SPDX-License-Identifier: LGPL-2.1-or-later
// libvirt's own golden pairs for its Xen driver, out of the source package that our headers
// come from: its XML must come to the configuration that its driver makes of it.

#include "conf/libvirt_error.h"
#include "hypervisor/xen/config.h"
#include "hypervisor/xen/context.h"
#include "tests/hypervisor/xen/definition.h"

#include <filesystem>
#include <gtest/gtest.h>

namespace godwit::hypervisor::xen {

static const std::string folder = GODWIT_LIBVIRT_TESTS "/libxlxml2domconfigdata/";

/// Pairs that are not for this Xen.
static const std::map<std::string, std::string> notOurs = {
    {"fullvirt-cpuid-legacy-nest", "of a libxl whose nested_hvm stands elsewhere (before Xen 4.15)"},
    {"vnuma-hvm-legacy-nest", "of a libxl whose nested_hvm stands elsewhere (before Xen 4.15)"},
};

static std::vector<std::string> pairNames()
{
    std::vector<std::string> names;
    for (const auto &entry : std::filesystem::directory_iterator(folder)) {
        if (entry.path().extension() == ".json")
            names.push_back(entry.path().stem());
    }
    std::sort(names.begin(), names.end());
    return names;
}

class GoldenPair : public testing::TestWithParam<std::string>
{
};

/// What the golden file means to the libxl that is installed here.
static std::string normalised(Context &context, const std::string &json)
{
    DomainConfig config;
    if (libxl_domain_config_from_json(context, config.get(), json.c_str()) != 0)
        return "libxl cannot read this: " + json;
    const LibxlText text(libxl_domain_config_to_json(context, config.get()));
    return text ? text.get() : "";
}

TEST_P(GoldenPair, XmlBecomesTheConfiguration)
{
    if (const auto reason = notOurs.find(GetParam()); reason != notOurs.end())
        GTEST_SKIP() << reason->second;
    auto context = Context::open();
    ASSERT_TRUE(context) << context.error().message;
    conf::DomainDef def = parseFile(folder + GetParam() + ".xml");
    ASSERT_TRUE(def) << conf::takeLibvirtError().message;
    auto caps = testCapabilities();
    // Devices that leave their port to the driver get the first.
    ConfigContext how{**context, caps.get(), /* nestedHvm= */ true, "/var/lib/libvirt/libxl/channel/target", {firstVncPort}};
    if (def->ngraphics && def->graphics[0]->type == VIR_DOMAIN_GRAPHICS_TYPE_VNC && !def->graphics[0]->data.vnc.autoport)
        how.graphicsPorts.clear();
    DomainConfig config;
    auto built = buildConfig(how, def.get(), config.get());
    ASSERT_TRUE(built) << built.error().message;
    const LibxlText made(libxl_domain_config_to_json(**context, config.get()));
    ASSERT_TRUE(made);
    EXPECT_EQ(normalised(**context, made.get()), normalised(**context, readText(folder + GetParam() + ".json")));
}

INSTANTIATE_TEST_SUITE_P(OfLibvirt, GoldenPair, testing::ValuesIn(pairNames()), [](const auto &pair) {
    std::string name = pair.param;
    std::replace(name.begin(), name.end(), '-', '_');
    return name;
});

TEST(GoldenPairs, AreThere)
{
    EXPECT_GE(pairNames().size(), 14u);
}

} // namespace godwit::hypervisor::xen
