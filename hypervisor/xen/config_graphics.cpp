// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/i18n.h"
#include "base/strprintf.h"
#include "hypervisor/xen/config.h"
#include "hypervisor/xen/definition.h"

namespace godwit::hypervisor::xen {

using base::Result;
using base::strprintf;
using base::tr;

// Virtual framebuffers and keyboards; for HVM the display of the emulated machine.

static int portOf(const ConfigContext &context, size_t index, int defined)
{
    const int chosen = index < context.graphicsPorts.size() ? context.graphicsPorts[index] : 0;
    return chosen ? chosen : defined;
}

static const char *listenAddress(const virDomainGraphicsDef *graphics)
{
    const virDomainGraphicsListenDef *listen = virDomainGraphicsGetListen(const_cast<virDomainGraphicsDef *>(graphics), 0);
    return listen ? listen->address : nullptr;
}

static Result<void> framebuffer(const ConfigContext &context, const virDomainGraphicsDef *graphics, size_t index,
                                libxl_device_vfb *out)
{
    libxl_device_vfb_init(out);
    if (graphics->type == VIR_DOMAIN_GRAPHICS_TYPE_SDL) {
        libxl_defbool_set(&out->sdl.enable, true);
        libxl_defbool_set(&out->vnc.enable, false);
        libxl_defbool_set(&out->sdl.opengl, false);
        out->sdl.display = copy(graphics->data.sdl.display);
        out->sdl.xauthority = copy(graphics->data.sdl.xauth);
        return {};
    }
    if (graphics->type == VIR_DOMAIN_GRAPHICS_TYPE_SPICE)
        return {};   // HVM's own, see below
    if (graphics->type != VIR_DOMAIN_GRAPHICS_TYPE_VNC)
        return unsupported(strprintf(tr("graphics of type '%s'"), virDomainGraphicsTypeToString(graphics->type)));
    libxl_defbool_set(&out->vnc.enable, true);
    libxl_defbool_set(&out->sdl.enable, false);
    libxl_defbool_set(&out->vnc.findunused, false);
    out->vnc.display = portOf(context, index, graphics->data.vnc.port) - firstVncPort;
    if (const char *address = listenAddress(graphics)) {
        std::free(out->vnc.listen);
        out->vnc.listen = copy(address);
    }
    out->vnc.passwd = copy(graphics->data.vnc.auth.passwd);
    out->keymap = copy(graphics->data.vnc.keymap);
    return {};
}

static void spice(const ConfigContext &context, const virDomainGraphicsDef *graphics, size_t index,
                  libxl_domain_build_info *info)
{
    const auto &from = graphics->data.spice;
    auto &to = info->u.hvm.spice;
    libxl_defbool_set(&to.enable, true);
    to.port = portOf(context, index, from.port);
    if (virDomainGraphicsGetListen(const_cast<virDomainGraphicsDef *>(graphics), 0)) {
        const char *address = listenAddress(graphics);
        to.host = copy(address ? address : VIR_LOOPBACK_IPV4_ADDR);
    }
    info->u.hvm.keymap = copy(from.keymap);
    to.passwd = copy(from.auth.passwd);
    libxl_defbool_set(&to.disable_ticketing, !from.auth.passwd);
    libxl_defbool_set(&to.agent_mouse, from.mousemode != VIR_DOMAIN_MOUSE_MODE_SERVER);
    const bool shared = from.copypaste == VIR_TRISTATE_BOOL_YES;
    libxl_defbool_set(&to.vdagent, shared);
    libxl_defbool_set(&to.clipboard_sharing, shared);
}

/// The first framebuffer is also the emulated machine's display, and libxl wants it told twice.
static void display(const libxl_device_vfb &first, libxl_domain_build_info *info)
{
    auto &hvm = info->u.hvm;
    if (libxl_defbool_val(first.vnc.enable)) {
        libxl_defbool_set(&hvm.vnc.enable, true);
        hvm.vnc.listen = copy(first.vnc.listen);
        hvm.vnc.passwd = copy(first.vnc.passwd);
        hvm.vnc.display = first.vnc.display;
        libxl_defbool_set(&hvm.vnc.findunused, libxl_defbool_val(first.vnc.findunused));
    } else if (libxl_defbool_val(first.sdl.enable)) {
        libxl_defbool_set(&hvm.sdl.enable, true);
        libxl_defbool_set(&hvm.sdl.opengl, libxl_defbool_val(first.sdl.opengl));
        hvm.sdl.display = copy(first.sdl.display);
        hvm.sdl.xauthority = copy(first.sdl.xauthority);
    }
    hvm.keymap = copy(first.keymap);
}

static Result<void> video(const virDomainDef *def, libxl_domain_build_info *info)
{
    if (def->nvideos == 0) {
        libxl_defbool_set(&info->u.hvm.nographic, true);
        info->u.hvm.vga.kind = LIBXL_VGA_INTERFACE_TYPE_NONE;
        return {};
    }
    const bool upstream = deviceModelOf(def) == LIBXL_DEVICE_MODEL_VERSION_QEMU_XEN;
    unsigned leastMib = 0;
    switch (def->videos[0]->type) {
    case VIR_DOMAIN_VIDEO_TYPE_VGA:
    case VIR_DOMAIN_VIDEO_TYPE_XEN:
        info->u.hvm.vga.kind = LIBXL_VGA_INTERFACE_TYPE_STD;
        leastMib = upstream ? 16 : 8;
        break;
    case VIR_DOMAIN_VIDEO_TYPE_CIRRUS:
        info->u.hvm.vga.kind = LIBXL_VGA_INTERFACE_TYPE_CIRRUS;
        leastMib = upstream ? 8 : 4;
        break;
    case VIR_DOMAIN_VIDEO_TYPE_QXL:
        info->u.hvm.vga.kind = LIBXL_VGA_INTERFACE_TYPE_QXL;
        leastMib = 128;
        break;
    default:
        return unsupported(strprintf(tr("video devices of type '%s'"),
                                     virDomainVideoTypeToString(def->videos[0]->type)));
    }
    if (def->videos[0]->vram < leastMib * 1024)
        return unsupported(strprintf(tr("less than %u MiB of video memory for video type '%s'"), leastMib,
                                     virDomainVideoTypeToString(def->videos[0]->type)));
    info->video_memkb = def->videos[0]->vram;
    return {};
}

Result<void> buildGraphics(const ConfigContext &context, const virDomainDef *def, libxl_domain_config *out)
{
    out->vfbs = array<libxl_device_vfb>(def->ngraphics);
    out->vkbs = array<libxl_device_vkb>(def->ngraphics);
    const virDomainGraphicsDef *spiceDef = nullptr;
    size_t spiceIndex = 0;
    for (size_t i = 0; i < def->ngraphics; i++) {
        libxl_device_vkb_init(&out->vkbs[out->num_vkbs++]);
        TRY(framebuffer(context, def->graphics[i], i, &out->vfbs[out->num_vfbs++]));
        if (!spiceDef && def->graphics[i]->type == VIR_DOMAIN_GRAPHICS_TYPE_SPICE) {
            spiceDef = def->graphics[i];
            spiceIndex = i;
        }
    }
    if (out->c_info.type != LIBXL_DOMAIN_TYPE_HVM)
        return {};
    if (spiceDef)
        spice(context, spiceDef, spiceIndex, &out->b_info);
    else if (def->ngraphics)
        display(out->vfbs[0], &out->b_info);
    return video(def, &out->b_info);
}

} // namespace godwit::hypervisor::xen
