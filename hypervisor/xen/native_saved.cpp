// SPDX-License-Identifier: LGPL-2.1-or-later
// The configuration in a file of "xl save": libxl's own record of the domain, in JSON. What it holds is said
// again in xl's words, for which there is a reader; what has no place there is refused, not left out.
#include "base/i18n.h"
#include "base/strprintf.h"
#include "hypervisor/xen/context.h"
#include "hypervisor/xen/native.h"

#include <cstring>

namespace godwit::hypervisor::xen {

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::strprintf;
using base::tr;

namespace {

/// xl's syntax, line by line. The first text that it cannot hold is remembered.
class XlText
{
public:
    void number(const char *name, unsigned long long value) { text_ += strprintf("%s = %llu\n", name, value); }
    void flag(const char *name, const libxl_defbool &value)
    {
        if (!libxl_defbool_is_default(value))
            number(name, libxl_defbool_val(value) ? 1 : 0);
    }
    void string(const char *name, const char *value)
    {
        if (value && *value)
            text_ += strprintf("%s = %s\n", name, quoted(value).c_str());
    }
    void list(const char *name, const std::vector<std::string> &items)
    {
        if (items.empty())
            return;
        text_ += strprintf("%s = [ ", name);
        for (const std::string &item : items)
            text_ += quoted(item) + ", ";
        text_ += "]\n";
    }
    /// One word of a device's description.
    std::string word(const char *name, const char *value)
    {
        if (!value || !*value)
            return {};
        if (strpbrk(value, ",[]") && bad_.empty())
            bad_ = value;
        return strprintf("%s=%s,", name, value);
    }
    Result<std::string> take() const
    {
        if (!bad_.empty())
            return makeError(ErrorCode::Unsupported, tr("the configuration's text '%s' cannot be said in xl's words"),
                             bad_.c_str());
        return text_;
    }

private:
    std::string quoted(const std::string &value)
    {
        const char quote = value.find('"') == std::string::npos ? '"' : '\'';
        if ((value.find(quote) != std::string::npos || value.find_first_of("\n\\") != std::string::npos) && bad_.empty())
            bad_ = value;
        return quote + value + quote;
    }

    std::string text_, bad_;
};

std::string withoutComma(std::string words)
{
    if (!words.empty())
        words.pop_back();
    return words;
}

std::string diskWords(XlText &out, const libxl_device_disk &disk)
{
    std::string words;
    if (disk.format != LIBXL_DISK_FORMAT_EMPTY && disk.format != LIBXL_DISK_FORMAT_UNKNOWN)
        words += out.word("format", libxl_disk_format_to_string(disk.format));
    words += out.word("vdev", disk.vdev) + out.word("access", disk.readwrite ? "rw" : "ro");
    if (disk.backend != LIBXL_DISK_BACKEND_UNKNOWN)
        words += out.word("backendtype", libxl_disk_backend_to_string(disk.backend));
    words += out.word("backend", disk.backend_domname) + out.word("script", disk.script);
    if (disk.is_cdrom)
        words += "devtype=cdrom,";
    // A path ends the description, whatever is in it.
    return disk.pdev_path && *disk.pdev_path ? words + "target=" + disk.pdev_path : withoutComma(words);
}

std::string nicWords(XlText &out, const libxl_device_nic &nic, bool hvm)
{
    std::string words = strprintf("mac=" LIBXL_MAC_FMT ",", LIBXL_MAC_BYTES(nic.mac));
    words += out.word("bridge", nic.bridge) + out.word("script", nic.script) + out.word("ip", nic.ip);
    // A name with a domain's number in it was made, not chosen.
    if (nic.ifname && strncmp(nic.ifname, "vif", strlen("vif")) != 0)
        words += out.word("vifname", nic.ifname);
    // xl's word for a NIC that is not emulated, where it could be.
    if ((hvm && nic.nictype == LIBXL_NIC_TYPE_VIF) || (nic.model && strcmp(nic.model, "netfront") == 0))
        words += "type=vif,";
    else
        words += out.word("model", nic.model);
    return withoutComma(words);
}

/// Whether it has a graphics card: unless told otherwise, every HVM guest of libxl's has, and VNC shows it.
bool hasScreen(const libxl_domain_config &config)
{
    const auto &hvm = config.b_info.u.hvm;
    if (config.c_info.type != LIBXL_DOMAIN_TYPE_HVM || hvm.vga.kind == LIBXL_VGA_INTERFACE_TYPE_NONE)
        return false;
    if (!libxl_defbool_is_default(hvm.nographic) && libxl_defbool_val(hvm.nographic))
        return false;
    return libxl_defbool_is_default(hvm.vnc.enable) || libxl_defbool_val(hvm.vnc.enable);
}

/// Devices that xl's words, or their reader, have no place for.
Result<void> checkDevices(const libxl_domain_config &config)
{
    const std::pair<const char *, int> others[] = {
        {"PCI", config.num_pcidevs},           {"USB", config.num_usbdevs + config.num_usbctrls},
        {"device tree", config.num_dtdevs},    {"TPM", config.num_vtpms},
        {"9P", config.num_p9s},                {"PV calls", config.num_pvcallsifs},
        {"display", config.num_vdispls},       {"sound", config.num_vsnds},
        {"channel", config.num_channels},      {"framebuffer", config.num_vfbs},
    };
    for (const auto &[what, count] : others) {
        if (count > 0)
            return makeError(ErrorCode::Unsupported,
                             tr("the saved configuration has %s devices: give the domain's XML with the image"), what);
    }
    if (config.b_info.num_vnuma_nodes > 0)
        return makeError(ErrorCode::Unsupported, "%s",
                         tr("the saved configuration has NUMA nodes: give the domain's XML with the image"));
    if (hasScreen(config) && config.b_info.u.hvm.vga.kind > LIBXL_VGA_INTERFACE_TYPE_CIRRUS)
        return makeError(ErrorCode::Unsupported,
                         tr("the saved configuration has a graphics card of type '%s': give the domain's XML with the "
                            "image"),
                         libxl_vga_interface_type_to_string(config.b_info.u.hvm.vga.kind));
    return {};
}

void describeHvm(XlText &out, const libxl_domain_config &config)
{
    const libxl_domain_build_info &info = config.b_info;
    out.flag("acpi", info.u.hvm.acpi);
    out.flag("apic", info.u.hvm.apic);
    out.flag("pae", info.u.hvm.pae);
    out.flag("viridian", info.u.hvm.viridian);
    out.flag("hpet", info.u.hvm.hpet);
    out.flag("nestedhvm", info.nested_hvm);
    out.string("boot", info.u.hvm.boot);
    out.string("serial", info.u.hvm.serial);
    out.flag("usb", info.u.hvm.usb);
    out.string("usbdevice", info.u.hvm.usbdevice);
    out.string("soundhw", info.u.hvm.soundhw);
    out.string("keymap", info.u.hvm.keymap);
    const libxl_vnc_info &vnc = info.u.hvm.vnc;
    if (!hasScreen(config))
        return;
    out.number("vnc", 1);
    out.string("vnclisten", vnc.listen);
    out.string("vncpasswd", vnc.passwd);
    out.flag("vncunused", vnc.findunused);
    out.number("vncdisplay", static_cast<unsigned long long>(vnc.display));
}

Result<std::string> describe(libxl_domain_config &config)
{
    TRY(checkDevices(config));
    XlText out;
    libxl_domain_build_info &info = config.b_info;
    out.string("name", config.c_info.name);
    char uuid[VIR_UUID_STRING_BUFLEN];
    virUUIDFormat(libxl_uuid_bytearray(&config.c_info.uuid), uuid);
    out.string("uuid", uuid);
    out.string("type", libxl_domain_type_to_string(config.c_info.type));
    out.number("maxmem", info.max_memkb / 1024);
    out.number("memory", info.target_memkb / 1024);
    const int vcpus = libxl_bitmap_count_set(&info.avail_vcpus);
    out.number("vcpus", static_cast<unsigned long long>(vcpus > 0 ? vcpus : info.max_vcpus));
    if (info.max_vcpus > vcpus && vcpus > 0)
        out.number("maxvcpus", static_cast<unsigned long long>(info.max_vcpus));
    out.flag("hap", config.c_info.hap);
    out.string("kernel", info.kernel);
    out.string("ramdisk", info.ramdisk);
    out.string("cmdline", info.cmdline);
    out.string("bootloader", info.bootloader);
    const bool hvm = config.c_info.type == LIBXL_DOMAIN_TYPE_HVM;
    if (hvm)
        describeHvm(out, config);
    out.string("on_poweroff", libxl_action_on_shutdown_to_string(config.on_poweroff));
    out.string("on_reboot", libxl_action_on_shutdown_to_string(config.on_reboot));
    out.string("on_crash", libxl_action_on_shutdown_to_string(config.on_crash));
    std::vector<std::string> disks, nics;
    for (int i = 0; i < config.num_disks; i++)
        disks.push_back(diskWords(out, config.disks[i]));
    for (int i = 0; i < config.num_nics; i++)
        nics.push_back(nicWords(out, config.nics[i], hvm));
    out.list("disk", disks);
    out.list("vif", nics);
    return out.take();
}

} // namespace

Result<std::string> savedConfigAsXl(const char *json)
{
    auto context = TRY(Context::open());
    DomainConfig config;
    TRY(context->check(libxl_domain_config_from_json(*context, config.get(), json),
                       tr("this is no configuration of libxl's")));
    return describe(*config);
}

} // namespace godwit::hypervisor::xen
