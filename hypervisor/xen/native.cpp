// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/xen/native.h"

#include "base/i18n.h"
#include "conf/libvirt_error.h"
#include "hypervisor/hypervisor.h"

#include <cstring>

extern "C" {
#include "libxl/xen_xl.h"
#include "libxl/xen_xm.h"
}

namespace godwit::hypervisor::xen {

using base::Error;
using base::ErrorCode;
using base::makeError;
using base::Result;
using base::tr;

/// More than any guest's file: what is converted comes from clients.
static constexpr size_t maxSize = 64 * 1024;

using Configuration = std::unique_ptr<virConf, conf::FreeWith<virConfFree>>;

static bool isXl(const char *format)
{
    return STREQ(format, XEN_CONFIG_FORMAT_XL);
}

static Result<void> checkFormat(const char *format)
{
    if (isXl(format) || STREQ(format, XEN_CONFIG_FORMAT_XM))
        return {};
    return makeError(ErrorCode::InvalidArgument, tr("configuration format '%s' is not known: there are '%s' and '%s'"),
                     format, XEN_CONFIG_FORMAT_XL, XEN_CONFIG_FORMAT_XM);
}

Result<conf::DomainDef> parseNative(const char *format, const char *text, virCaps *capabilities,
                                    virDomainXMLOption *option)
{
    if (STREQ(format, savedXlFormat))
        return parseNative(XEN_CONFIG_FORMAT_XL, TRY(savedConfigAsXl(text)).c_str(), capabilities, option);
    TRY(checkFormat(format));
    if (strnlen(text, maxSize + 1) > maxSize)
        return makeError(ErrorCode::InvalidArgument, tr("a configuration is longer than %zu bytes"), maxSize);
    const Configuration native(virConfReadString(text, 0));
    if (!native)
        return conf::takeLibvirtError();
    conf::DomainDef def(isXl(format) ? xenParseXL(native.get(), capabilities, option)
                                     : xenParseXM(native.get(), capabilities, option));
    if (!def)
        return conf::takeLibvirtError();
    return def;
}

Result<conf::Text> formatNative(const char *format, virDomainDef *def, virConnectPtr connection)
{
    TRY(checkFormat(format));
    const Configuration native(isXl(format) ? xenFormatXL(def, connection) : xenFormatXM(connection, def));
    if (!native)
        return conf::takeLibvirtError();
    int length = maxSize;
    conf::Text text(g_new0(char, maxSize + 1));
    if (virConfWriteMem(text.get(), &length, native.get()) < 0)
        return conf::takeLibvirtError();
    return text;
}

} // namespace godwit::hypervisor::xen
