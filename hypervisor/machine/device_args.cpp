// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/machine/command_line.h"

#include "base/strprintf.h"
#include "hypervisor/machine/machine_type.h"

#include <algorithm>
#include <tuple>

namespace godwit::hypervisor::machine {

using base::strprintf;

// ---- controllers ----------------------------------------------------------------------

static const char *usbController(int model)
{
    switch (model) {
    case VIR_DOMAIN_CONTROLLER_MODEL_USB_EHCI: return "usb-ehci";
    case VIR_DOMAIN_CONTROLLER_MODEL_USB_ICH9_EHCI1: return "ich9-usb-ehci1";
    case VIR_DOMAIN_CONTROLLER_MODEL_USB_ICH9_UHCI1: return "ich9-usb-uhci1";
    case VIR_DOMAIN_CONTROLLER_MODEL_USB_ICH9_UHCI2: return "ich9-usb-uhci2";
    case VIR_DOMAIN_CONTROLLER_MODEL_USB_ICH9_UHCI3: return "ich9-usb-uhci3";
    case VIR_DOMAIN_CONTROLLER_MODEL_USB_NEC_XHCI: return "nec-usb-xhci";
    case VIR_DOMAIN_CONTROLLER_MODEL_USB_QEMU_XHCI: return "qemu-xhci";
    default: return "piix3-usb-uhci";
    }
}

static void addUsbController(ArgumentList &arguments, const virDomainDef *def, const virDomainControllerDef *controller)
{
    if (controller->model == VIR_DOMAIN_CONTROLLER_MODEL_USB_NONE)
        return;
    Options device(usbController(controller->model));
    if (controller->opts.usbopts.ports > 0)
        device.add("p2", controller->opts.usbopts.ports).add("p3", controller->opts.usbopts.ports);
    // A companion serves the ports of the EHCI controller of the same index.
    if (controller->info.mastertype == VIR_DOMAIN_CONTROLLER_MASTER_USB)
        device.add("masterbus", strprintf("%s.0", controller->info.alias))
            .add("firstport", controller->info.master.usb.startport);
    else
        device.add("id", controller->info.alias);
    addPciAddress(device, def, controller->info);
    arguments.option("-device", device);
}

void addControllers(ArgumentList &arguments, const virDomainDef *def)
{
    // libvirt's parser orders them anew each time: one order for both ends of a migration.
    std::vector<const virDomainControllerDef *> controllers(def->controllers, def->controllers + def->ncontrollers);
    std::stable_sort(controllers.begin(), controllers.end(), [](const auto *a, const auto *b) {
        return std::tie(a->type, a->idx) < std::tie(b->type, b->idx);
    });
    for (const virDomainControllerDef *controller : controllers) {
        if (controller->type == VIR_DOMAIN_CONTROLLER_TYPE_USB) {
            addUsbController(arguments, def, controller);
        } else if (controller->type == VIR_DOMAIN_CONTROLLER_TYPE_SATA && !(isQ35(def) && controller->idx == 0)) {
            Options device("ahci");
            device.add("id", controller->info.alias);
            addPciAddress(device, def, controller->info);
            arguments.option("-device", device);
        } else if (controller->type == VIR_DOMAIN_CONTROLLER_TYPE_VIRTIO_SERIAL) {
            Options device("virtio-serial-pci");
            device.add("id", controller->info.alias);
            if (controller->opts.vioserial.ports > 0)
                device.add("max_ports", controller->opts.vioserial.ports);
            if (controller->opts.vioserial.vectors >= 0)
                device.add("vectors", controller->opts.vioserial.vectors);
            addPciAddress(device, def, controller->info);
            arguments.option("-device", device);
        }
        // The rest (the PCI root, PIIX3's IDE, q35's first SATA) is part of the machine.
    }
}

// ---- network --------------------------------------------------------------------------

static const char *nicModel(const virDomainNetDef *net)
{
    switch (net->model) {
    case VIR_DOMAIN_NET_MODEL_E1000: return "e1000";
    case VIR_DOMAIN_NET_MODEL_RTL8139: return "rtl8139";
    default: return "virtio-net-pci";
    }
}

void addNics(ArgumentList &arguments, const virDomainDef *def, const CommandLineInputs &inputs)
{
    for (size_t i = 0; i < def->nnets; i++) {
        const virDomainNetDef *net = def->nets[i];
        const std::string backend = strprintf("host%s", net->info.alias);
        if (i < inputs.tapFds.size() && inputs.tapFds[i] >= 0)
            arguments.option("-netdev", Options("tap").add("fd", inputs.tapFds[i]).add("id", backend));
        else
            arguments.option("-netdev", Options("user").add("id", backend));
        char mac[VIR_MAC_STRING_BUFLEN];
        Options device(nicModel(net));
        device.add("netdev", backend).add("id", net->info.alias).add("mac", virMacAddrFormat(&net->mac, mac));
        addPciAddress(device, def, net->info);
        if (const unsigned boot = bootIndexOf(def, net->info))
            device.add("bootindex", boot);
        if (net->info.rombar != VIR_TRISTATE_SWITCH_ABSENT)
            device.add("rombar", net->info.rombar == VIR_TRISTATE_SWITCH_ON ? "1" : "0");
        if (net->info.romenabled == VIR_TRISTATE_BOOL_NO)
            device.add("romfile", "");
        else if (net->info.romfile)
            device.add("romfile", net->info.romfile);
        arguments.option("-device", device);
    }
}

// ---- display and input ----------------------------------------------------------------

static void addVideo(ArgumentList &arguments, const virDomainDef *def, const virDomainVideoDef *video)
{
    const char *model = nullptr;
    switch (video->type) {
    case VIR_DOMAIN_VIDEO_TYPE_VGA: model = "VGA"; break;
    case VIR_DOMAIN_VIDEO_TYPE_CIRRUS: model = "cirrus-vga"; break;
    case VIR_DOMAIN_VIDEO_TYPE_VIRTIO: model = "virtio-vga"; break;
    case VIR_DOMAIN_VIDEO_TYPE_BOCHS: model = "bochs-display"; break;
    default: return;
    }
    Options device(model);
    device.add("id", video->info.alias);
    if (video->type == VIR_DOMAIN_VIDEO_TYPE_VIRTIO)
        device.add("max_outputs", video->heads ? video->heads : 1);
    else if (video->type == VIR_DOMAIN_VIDEO_TYPE_BOCHS && video->vram)
        device.add("vgamem", uint64_t{video->vram} * 1024);
    else if (video->type == VIR_DOMAIN_VIDEO_TYPE_VGA && video->vram)
        device.add("vgamem_mb", video->vram / 1024);
    addPciAddress(device, def, video->info);
    arguments.option("-device", device);
}

static std::string vncArgument(const virDomainGraphicsDef *graphics, int port)
{
    const virDomainGraphicsListenDef *listen = graphics->nListens ? &graphics->listens[0] : nullptr;
    std::string where;
    if (listen && listen->type == VIR_DOMAIN_GRAPHICS_LISTEN_TYPE_SOCKET) {
        where = strprintf("unix:%s", listen->socket);
    } else if (listen && listen->type == VIR_DOMAIN_GRAPHICS_LISTEN_TYPE_NONE) {
        where = "none";
    } else {
        const char *address = listen && listen->address ? listen->address : "127.0.0.1";
        where = strprintf(strchr(address, ':') ? "[%s]:%d" : "%s:%d", address, port - 5900);
    }
    std::string escaped;
    for (const char c : where)
        escaped.append(c == ',' ? 2 : 1, c);
    Options vnc(escaped);
    if (graphics->data.vnc.auth.passwd)
        vnc.add("password", true);
    if (graphics->data.vnc.sharePolicy != VIR_DOMAIN_GRAPHICS_VNC_SHARE_DEFAULT)
        vnc.add("share", virDomainGraphicsVNCSharePolicyTypeToString(graphics->data.vnc.sharePolicy));
    if (graphics->data.vnc.powerControl != VIR_TRISTATE_BOOL_ABSENT)
        vnc.add("power-control", graphics->data.vnc.powerControl == VIR_TRISTATE_BOOL_YES);
    return vnc;
}

static void addInput(ArgumentList &arguments, const virDomainDef *def, const virDomainInputDef *input)
{
    const char *type = input->type == VIR_DOMAIN_INPUT_TYPE_KBD      ? "kbd"
                       : input->type == VIR_DOMAIN_INPUT_TYPE_TABLET ? "tablet"
                                                                     : "mouse";
    if (input->bus == VIR_DOMAIN_INPUT_BUS_USB) {
        Options device(strprintf("usb-%s", type));
        device.add("id", input->info.alias);
        const virDomainDeviceUSBAddress &usb = input->info.addr.usb;
        const bool placed = input->info.type == VIR_DOMAIN_DEVICE_ADDRESS_TYPE_USB;
        device.add("bus", placed && usb.bus ? strprintf("usb%u.0", usb.bus) : "usb.0");
        if (placed && usb.port[0]) {
            std::string port = std::to_string(usb.port[0]);
            for (size_t i = 1; i < VIR_DOMAIN_DEVICE_USB_MAX_PORT_DEPTH && usb.port[i]; i++)
                port += strprintf(".%u", usb.port[i]);
            device.add("port", port);
        }
        arguments.option("-device", device);
    } else if (input->bus == VIR_DOMAIN_INPUT_BUS_VIRTIO) {
        Options device(strprintf("virtio-%s-pci", input->type == VIR_DOMAIN_INPUT_TYPE_KBD ? "keyboard" : type));
        device.add("id", input->info.alias);
        addPciAddress(device, def, input->info);
        arguments.option("-device", device);
    }
    // PS/2 is part of the machine.
}

void addDisplay(ArgumentList &arguments, const virDomainDef *def, const CommandLineInputs &inputs)
{
    arguments.option("-display", "none");
    for (size_t i = 0; i < def->nvideos; i++)
        addVideo(arguments, def, def->videos[i]);
    for (size_t i = 0; i < def->ngraphics; i++) {
        arguments.option("-vnc", vncArgument(def->graphics[i], i < inputs.vncPorts.size() ? inputs.vncPorts[i] : 5900));
        if (def->graphics[i]->data.vnc.keymap)
            arguments.option("-k", def->graphics[i]->data.vnc.keymap);
    }
    for (size_t i = 0; i < def->ninputs; i++)
        addInput(arguments, def, def->inputs[i]);
}

// ---- rng, balloon, watchdog -----------------------------------------------------------

static void addRng(ArgumentList &arguments, const virDomainDef *def, const virDomainRNGDef *rng)
{
    const std::string object = strprintf("obj%s", rng->info.alias);
    if (rng->backend == VIR_DOMAIN_RNG_BACKEND_BUILTIN)
        arguments.option("-object", Options("rng-builtin").add("id", object));
    else
        arguments.option("-object", Options("rng-random").add("id", object)
                                        .add("filename", rng->source.file ? rng->source.file : "/dev/urandom"));
    Options device("virtio-rng-pci");
    device.add("rng", object).add("id", rng->info.alias);
    if (rng->rate)
        device.add("max-bytes", rng->rate).add("period", rng->period ? rng->period : 1000);
    addPciAddress(device, def, rng->info);
    arguments.option("-device", device);
}

static void addBalloon(ArgumentList &arguments, const virDomainDef *def)
{
    const virDomainMemballoonDef *balloon = def->memballoon;
    if (!balloon || balloon->model == VIR_DOMAIN_MEMBALLOON_MODEL_NONE)
        return;
    Options device("virtio-balloon-pci");
    device.add("id", balloon->info.alias);
    addPciAddress(device, def, balloon->info);
    if (balloon->autodeflate != VIR_TRISTATE_SWITCH_ABSENT)
        device.add("deflate-on-oom", balloon->autodeflate == VIR_TRISTATE_SWITCH_ON);
    if (balloon->free_page_reporting != VIR_TRISTATE_SWITCH_ABSENT)
        device.add("free-page-reporting", balloon->free_page_reporting == VIR_TRISTATE_SWITCH_ON);
    arguments.option("-device", device);
}

static void addWatchdog(ArgumentList &arguments, const virDomainDef *def)
{
    const virDomainWatchdogDef *watchdog = def->watchdog;
    if (!watchdog)
        return;
    Options device(virDomainWatchdogModelTypeToString(watchdog->model));
    device.add("id", watchdog->info.alias);
    addPciAddress(device, def, watchdog->info);
    arguments.option("-device", device);
    const bool nmi = watchdog->action == VIR_DOMAIN_WATCHDOG_ACTION_INJECTNMI;
    arguments.option("-action", Options().add("watchdog", nmi ? "inject-nmi"
                                                              : virDomainWatchdogActionTypeToString(watchdog->action)));
}

void addOtherDevices(ArgumentList &arguments, const virDomainDef *def)
{
    for (size_t i = 0; i < def->nrngs; i++)
        addRng(arguments, def, def->rngs[i]);
    addBalloon(arguments, def);
    addWatchdog(arguments, def);
}

} // namespace godwit::hypervisor::machine
