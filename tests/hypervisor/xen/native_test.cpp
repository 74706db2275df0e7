// SPDX-License-Identifier: LGPL-2.1-or-later
// libvirt's own pairs of xl's and xm's configuration files and domain XML, out of its source package:
// each must become the other.

#include "conf/libvirt_error.h"
#include "hypervisor/hypervisor.h"
#include "hypervisor/xen/config.h"
#include "hypervisor/xen/context.h"
#include "hypervisor/xen/native.h"
#include "tests/hypervisor/xen/definition.h"

#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <iostream>

namespace godwit::hypervisor::xen {

using testing::HasSubstr;
using testing::Not;

namespace {

struct NativePair {
    std::string format, folder, name;

    std::string path(const char *extension) const { return folder + "test-" + name + extension; }
    std::string native() const { return readText(path(".cfg")); }
    std::string xml() const
    {
        std::string text = readText(path(".xml"));
        constexpr std::string_view placeholder = "/LIBXL_FIRMWARE_DIR";
        if (const size_t at = text.find(placeholder); at != std::string::npos)
            text.replace(at, placeholder.size(), "/usr/lib/xen/boot");
        return text;
    }
    unsigned formatFlags() const
    {
        unsigned flags = VIR_DOMAIN_DEF_FORMAT_SECURE;
        if (format == "xen-xl")
            flags |= VIR_DOMAIN_DEF_FORMAT_INACTIVE;
        return flags;
    }
};

/// Pairs that hold in one direction only, as in libvirt's tests: the other way is another file.
const std::map<std::string, std::string> onlyToXml = {
    {"disk-positional-parms-full", "written with names"},
    {"disk-positional-parms-partial", "written with names"},
    {"disk-qed", "written in another order"},
    {"paravirt-cmdline-extra-root", "written as one command line"},
    {"paravirt-cmdline-bogus-extra-root", "written as one command line"},
    {"paravirt-type", "written as a builder"},
    {"fullvirt-type", "written as a builder"},
    {"paravirt-root", "written as one command line"},
    {"paravirt-extra-root", "written as one command line"},
    {"fullvirt-default-feature", "defaults are written"},
    {"pci-dev-syntax", "written in full"},
    {"fullvirt-direct-kernel-boot-extra", "written as one command line"},
    {"fullvirt-direct-kernel-boot-bogus-extra", "written as one command line"},
};
const std::map<std::string, std::string> onlyFromXml = {
    {"fullvirt-vnuma-autocomplete", "the XML is completed"},
    {"fullvirt-vnuma-nodistances", "the XML is completed"},
    {"fullvirt-vnuma-partialdist", "the XML is completed"},
};

std::vector<NativePair> nativePairs()
{
    std::vector<NativePair> pairs;
    for (const char *format : {"xl", "xm"}) {
        const std::string folder = std::string(GODWIT_LIBVIRT_TESTS "/") + format + "configdata/";
        for (const auto &entry : std::filesystem::directory_iterator(folder)) {
            const std::string stem = entry.path().stem();
            if (entry.path().extension() == ".cfg" && stem.starts_with("test-") &&
                std::filesystem::exists(folder + stem + ".xml"))
                pairs.push_back({std::string("xen-") + format, folder, stem.substr(5)});
        }
    }
    std::sort(pairs.begin(), pairs.end(), [](const NativePair &a, const NativePair &b) {
        return std::tie(a.format, a.name) < std::tie(b.format, b.name);
    });
    return pairs;
}

std::string errorOf(const base::Error &error)
{
    return "error: " + error.message;
}

} // namespace

class NativeFiles : public testing::TestWithParam<NativePair>
{
};

TEST_P(NativeFiles, BecomeXml)
{
    if (const auto reason = onlyFromXml.find(GetParam().name); reason != onlyFromXml.end())
        GTEST_SKIP() << reason->second;
    auto option = testXmlOption();
    auto caps = testCapabilities();
    auto def = parseNative(GetParam().format.c_str(), GetParam().native().c_str(), caps.get(), option.get());
    ASSERT_TRUE(def) << errorOf(def.error());
    const conf::Text xml(virDomainDefFormat(def->get(), option.get(), GetParam().formatFlags()));
    ASSERT_TRUE(xml) << conf::takeLibvirtError().message;
    EXPECT_EQ(std::string(xml.get()), GetParam().xml());
}

TEST_P(NativeFiles, ComeOfXml)
{
    if (const auto reason = onlyToXml.find(GetParam().name); reason != onlyToXml.end())
        GTEST_SKIP() << reason->second;
    auto option = testXmlOption();
    const conf::DomainDef def(virDomainDefParseString(GetParam().xml().c_str(), option.get(), nullptr,
                                                      VIR_DOMAIN_DEF_PARSE_INACTIVE));
    ASSERT_TRUE(def) << conf::takeLibvirtError().message;
    auto native = formatNative(GetParam().format.c_str(), def.get(), nullptr);
    ASSERT_TRUE(native) << errorOf(native.error());
    EXPECT_EQ(std::string(native->get()), GetParam().native());
}

INSTANTIATE_TEST_SUITE_P(OfLibvirt, NativeFiles, testing::ValuesIn(nativePairs()), [](const auto &pair) {
    std::string name = pair.param.format + "_" + pair.param.name;
    std::replace_if(name.begin(), name.end(), [](char c) { return !std::isalnum(c); }, '_');
    return name;
});

TEST(NativePairs, AreThere)
{
    const auto pairs = nativePairs();
    std::cout << pairs.size() << " pairs\n";
    EXPECT_GE(pairs.size(), 80u);
}

/// A guest's configuration as libxl's JSON.
static std::string jsonOf(const virDomainDef *def)
{
    auto context = Context::open();
    DomainConfig config;
    EXPECT_TRUE(buildConfig({**context, nullptr, false, "/channels", {}}, def, config.get()));
    return LibxlText(libxl_domain_config_to_json(**context, config.get())).get();
}

static conf::DomainDef guestWith(const std::string &devices)
{
    auto option = testXmlOption();
    const std::string xml = "<domain type='xen'><name>g</name><uuid>5a1f6c70-0000-4000-8000-000000000001</uuid>"
                            "<memory unit='MiB'>64</memory><os><type machine='xenpvh'>xenpvh</type>"
                            "<kernel>/k</kernel><initrd>/i</initrd><cmdline>console=hvc0 a='b'</cmdline></os>"
                            "<on_reboot>restart</on_reboot><devices>" + devices + "</devices></domain>";
    return conf::DomainDef(virDomainDefParseString(xml.c_str(), option.get(), nullptr, VIR_DOMAIN_DEF_PARSE_INACTIVE));
}

TEST(SavedConfigurations, BecomeTheirGuest)
{
    const conf::DomainDef guest = guestWith(
        "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/d,x'/>"
        "<target dev='xvda' bus='xen'/></disk>"
        "<interface type='bridge'><mac address='00:16:3e:01:02:03'/><source bridge='br0'/></interface>");
    ASSERT_TRUE(guest) << conf::takeLibvirtError().message;
    const std::string json = jsonOf(guest.get());
    auto option = testXmlOption();
    auto caps = testCapabilities();
    auto read = parseNative(savedXlFormat, json.c_str(), caps.get(), option.get());
    ASSERT_TRUE(read) << errorOf(read.error());
    EXPECT_EQ(jsonOf(read->get()), json);
}

TEST(SavedConfigurations, LoseNothingUnsaid)
{
    auto option = testXmlOption();
    auto caps = testCapabilities();
    const auto refusal = [&](const std::string &json) {
        auto read = parseNative(savedXlFormat, json.c_str(), caps.get(), option.get());
        return read ? "" : read.error().message;
    };
    std::string json = jsonOf(guestWith("<channel type='pty'><target type='xen' name='c'/></channel>").get());
    EXPECT_THAT(refusal(json), HasSubstr("channel"));
    EXPECT_THAT(refusal("no JSON"), HasSubstr("no configuration"));
    EXPECT_THAT(refusal("{}"), Not(HasSubstr("no configuration")));
    const conf::DomainDef odd = guestWith("<interface type='bridge'><source bridge='a,b'/></interface>");
    EXPECT_THAT(refusal(jsonOf(odd.get())), HasSubstr("a,b"));
}

static std::string refusalOf(const char *format, const std::string &text)
{
    auto option = testXmlOption();
    auto caps = testCapabilities();
    auto def = parseNative(format, text.c_str(), caps.get(), option.get());
    return def ? "" : def.error().message;
}

TEST(ParseNative, RefusesWhatIsNone)
{
    EXPECT_THAT(refusalOf("xen-sxpr", "(domain)"), HasSubstr("xen-sxpr"));
    EXPECT_NE(refusalOf("xen-xl", "name = [ 'no end"), "");
    EXPECT_NE(refusalOf("xen-xl", std::string("\x01\xff\xfe")), "");
    EXPECT_NE(refusalOf("xen-xl", ""), "");   // not even a name
    EXPECT_NE(refusalOf("xen-xm", "name = 'g'\nmemory = 'much'\n"), "");
    EXPECT_THAT(refusalOf("xen-xl", std::string(1 << 20, '#')), HasSubstr("longer"));
}

/// Whatever becomes of it: no crash, on any beginning of a file and any changed byte of it.
TEST(ParseNative, SurvivesDamage)
{
    auto option = testXmlOption();
    auto caps = testCapabilities();
    for (const NativePair &pair : nativePairs()) {
        const std::string good = pair.native();
        for (size_t i = 0; i < good.size(); i += 7) {
            std::string damaged = good;
            damaged[i] = "\"'[]=,:\n0\x80"[i % 10];
            for (const std::string &text : {good.substr(0, i), damaged}) {
                auto def = parseNative(pair.format.c_str(), text.c_str(), caps.get(), option.get());
                if (def)
                    (void)formatNative(pair.format.c_str(), def->get(), nullptr).has_value();
            }
        }
    }
}

} // namespace godwit::hypervisor::xen
