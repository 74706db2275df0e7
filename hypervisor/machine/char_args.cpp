// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/machine/command_line.h"

#include "base/i18n.h"
#include "base/strprintf.h"

namespace godwit::hypervisor::machine {

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::strprintf;
using base::tr;

static constexpr std::string_view channelPrefix = "godwit-channel-";

std::string channelPath(const virDomainChrDef *channel, const std::string &runDir)
{
    std::string name;
    for (const char *c = channel->target.name ? channel->target.name : channel->info.alias; c && *c; c++)
        name += *c == '/' ? '_' : *c;
    return strprintf("%s/%s%s", runDir.c_str(), std::string(channelPrefix).c_str(), name.c_str());
}

bool isOwnChannelPath(const char *path)
{
    if (!path)
        return true;
    const std::string_view text(path);
    const size_t slash = text.rfind('/');
    return text.substr(slash == std::string_view::npos ? 0 : slash + 1).starts_with(channelPrefix);
}

static Result<void> addBackend(ArgumentList &arguments, const virDomainChrDef *device, const std::string &ownPath)
{
    const virDomainChrSourceDef *source = device->source;
    Options backend;
    switch (source->type) {
    case VIR_DOMAIN_CHR_TYPE_NULL: backend = Options("null"); break;
    case VIR_DOMAIN_CHR_TYPE_PTY: backend = Options("pty"); break;
    case VIR_DOMAIN_CHR_TYPE_FILE:
        backend = Options("file");
        backend.add("path", source->data.file.path);
        backend.add("append", source->data.file.append == VIR_TRISTATE_SWITCH_ON);
        break;
    case VIR_DOMAIN_CHR_TYPE_UNIX: {
        const std::string path = isOwnChannelPath(source->data.nix.path) ? ownPath : source->data.nix.path;
        // The longest name a socket's address holds.
        if (path.size() >= sizeof(sockaddr_un::sun_path))
            return makeError(ErrorCode::InvalidArgument, tr("socket path '%s' is too long"), path.c_str());
        backend = Options("socket");
        backend.add("path", path);
        if (source->data.nix.listen || isOwnChannelPath(source->data.nix.path))
            backend.add("server", true).add("wait", false);
        else if (source->data.nix.reconnect.enabled == VIR_TRISTATE_BOOL_YES)
            backend.add("reconnect", source->data.nix.reconnect.timeout);
        break;
    }
    default:
        return makeError(ErrorCode::Unsupported, tr("character device type '%s' is not supported by the machine hypervisor"),
                         virDomainChrTypeToString(source->type));
    }
    backend.add("id", strprintf("char%s", device->info.alias));
    if (source->logfile)
        backend.add("logfile", source->logfile).add("logappend", source->logappend != VIR_TRISTATE_SWITCH_OFF);
    arguments.option("-chardev", backend);
    return {};
}

static Options virtioPort(const char *model, const virDomainChrDef *device)
{
    Options port(model);
    if (device->info.type == VIR_DOMAIN_DEVICE_ADDRESS_TYPE_VIRTIO_SERIAL) {
        const virDomainDeviceVirtioSerialAddress &address = device->info.addr.vioserial;
        port.add("bus", strprintf("virtio-serial%u.%u", address.controller, address.bus)).add("nr", address.port);
    }
    port.add("chardev", strprintf("char%s", device->info.alias)).add("id", device->info.alias);
    return port;
}

Result<void> addCharacterDevices(ArgumentList &arguments, const virDomainDef *def, const CommandLineInputs &inputs)
{
    for (size_t i = 0; i < def->nserials; i++) {
        const virDomainChrDef *serial = def->serials[i];
        TRY(addBackend(arguments, serial, inputs.runDir + "/godwit-channel-" + serial->info.alias));
        Options device("isa-serial");
        device.add("chardev", strprintf("char%s", serial->info.alias)).add("id", serial->info.alias);
        device.add("index", serial->target.port);
        arguments.option("-device", device);
    }
    for (size_t i = 0; i < def->nconsoles; i++) {
        const virDomainChrDef *console = def->consoles[i];
        // A serial console is the first serial port under another name.
        if (console->targetType != VIR_DOMAIN_CHR_CONSOLE_TARGET_TYPE_VIRTIO)
            continue;
        TRY(addBackend(arguments, console, inputs.runDir + "/godwit-channel-" + console->info.alias));
        arguments.option("-device", virtioPort("virtconsole", console));
    }
    for (size_t i = 0; i < def->nchannels; i++) {
        const virDomainChrDef *channel = def->channels[i];
        TRY(addBackend(arguments, channel, channelPath(channel, inputs.runDir)));
        Options port = virtioPort("virtserialport", channel);
        if (channel->target.name)
            port.add("name", channel->target.name);
        arguments.option("-device", port);
    }
    return {};
}

} // namespace godwit::hypervisor::machine
