// SPDX-License-Identifier: LGPL-2.1-or-later
#include "conf/libvirt_error.h"
#include "hypervisor/xen/config.h"
#include "hypervisor/xen/context.h"
#include "tests/hypervisor/xen/definition.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace godwit::hypervisor::xen {

using testing::HasSubstr;

using Built = base::Result<std::unique_ptr<DomainConfig>>;

/// A PVH guest with `devices`, as a configuration of libxl's, or why there is none.
static Built build(const std::string &devices, const std::string &more = {})
{
    auto option = testXmlOption();
    const std::string xml = "<domain type='xen'><name>g</name><uuid>5a1f6c70-0000-4000-8000-000000000001</uuid>"
                            "<memory unit='MiB'>64</memory><os><type machine='xenpvh'>xenpvh</type>"
                            "<kernel>/k</kernel></os>" + more + "<devices>" + devices + "</devices></domain>";
    conf::DomainDef def(virDomainDefParseString(xml.c_str(), option.get(), nullptr, VIR_DOMAIN_DEF_PARSE_INACTIVE));
    if (!def)
        return conf::takeLibvirtError();
    auto context = TRY(Context::open());
    auto config = std::make_unique<DomainConfig>();
    TRY(buildConfig({*context, nullptr, false, "/channels", {}}, def.get(), config->get()));
    return config;
}

static std::string refusal(const std::string &devices, const std::string &more = {})
{
    auto built = build(devices, more);
    return built ? "" : built.error().message;
}

TEST(BuildConfig, TakesAGuestWithDiskAndNic)
{
    EXPECT_EQ(refusal("<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/d'/>"
                      "<target dev='xvda' bus='xen'/></disk>"
                      "<interface type='bridge'><source bridge='br0'/></interface>"),
              "");
}

TEST(BuildConfig, NamesWhatXenDoesNotDo)
{
    const std::string disk = "<source file='/d'/><target dev='xvda' bus='xen'/></disk>";
    EXPECT_THAT(refusal("<disk type='file'><driver name='phy' type='qcow2'/>" + disk), HasSubstr("qcow2"));
    EXPECT_THAT(refusal("<disk type='file'><driver name='nonsense' type='raw'/>" + disk), HasSubstr("nonsense"));
    EXPECT_THAT(refusal("<disk type='file'><transient/>" + disk), HasSubstr("transient"));
    EXPECT_THAT(refusal("<interface type='user'/>"), HasSubstr("user"));
    EXPECT_THAT(refusal("<interface type='bridge'><source bridge='b'/><model type='e1000'/></interface>"), HasSubstr("e1000"));
    EXPECT_THAT(refusal("<memballoon model='none'/>"), HasSubstr("balloon"));
    EXPECT_THAT(refusal("<memballoon model='virtio'/>"), HasSubstr("virtio"));
    EXPECT_THAT(refusal("", "<clock offset='timezone' timezone='UTC'/>"), HasSubstr("timezone"));
    EXPECT_THAT(refusal("", "<clock offset='utc'><timer name='hpet'/></clock>"), HasSubstr("hpet"));
    EXPECT_THAT(refusal("<graphics type='spice'/>"), "");
    EXPECT_THAT(refusal("<controller type='usb' model='nec-xhci'/>"), HasSubstr("nec-xhci"));
}

static std::string usbDevices(int count)
{
    std::string all;
    for (int i = 1; i <= count; i++)
        all += "<hostdev mode='subsystem' type='usb'><source><address bus='3' device='" + std::to_string(i) +
               "'/></source></hostdev>";
    return all;
}

TEST(BuildConfig, GivesEachUsbDeviceAPort)
{
    const Built built = build(usbDevices(9));
    ASSERT_TRUE(built) << built.error().message;
    libxl_domain_config &config = ***built;
    ASSERT_EQ(config.num_usbdevs, 9);
    EXPECT_EQ(config.usbdevs[8].u.hostdev.hostbus, 3);
    EXPECT_EQ(config.usbdevs[8].u.hostdev.hostaddr, 9);
    ASSERT_EQ(config.num_usbctrls, 2);
    for (int i = 0; i < 2; i++) {
        EXPECT_EQ(config.usbctrls[i].devid, i);
        EXPECT_EQ(config.usbctrls[i].type, LIBXL_USBCTRL_TYPE_QUSB);
        EXPECT_EQ(config.usbctrls[i].version, 2);
        EXPECT_EQ(config.usbctrls[i].ports, 8);
    }
}

TEST(BuildConfig, KeepsToDefinedUsbControllers)
{
    const Built built = build("<controller type='usb' index='0' model='qusb1' ports='4'/>" + usbDevices(1));
    ASSERT_TRUE(built) << built.error().message;
    libxl_domain_config &config = ***built;
    ASSERT_EQ(config.num_usbctrls, 1);
    EXPECT_EQ(config.usbctrls[0].type, LIBXL_USBCTRL_TYPE_QUSB);
    EXPECT_EQ(config.usbctrls[0].version, 1);
    EXPECT_EQ(config.usbctrls[0].ports, 4);
    EXPECT_THAT(refusal("<hostdev mode='subsystem' type='usb'><source><vendor id='0x12'/><product id='0x34'/></source>"
                        "</hostdev>"), HasSubstr("12:34")) << "nobody has found it on the host";
}

TEST(LogLines, LoseThePlaceInTheSource)
{
    EXPECT_EQ(withoutPlace("libxl_dom_suspend.c:372:suspend_common_wait_guest_timeout: Domain 17:guest did not suspend"),
              "Domain 17:guest did not suspend");
    EXPECT_EQ(withoutPlace("Save failed"), "Save failed");
}

} // namespace godwit::hypervisor::xen
