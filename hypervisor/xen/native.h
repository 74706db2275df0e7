// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// xl's and xm's configuration files ("xen-xl", "xen-xm") from and to definitions. libvirt's own
// reader and writer do it: no library of its offers them, so they are built from its source
// package, of exactly the installed version, as its headers are taken from there.

#include "base/result.h"
#include "conf/handle.h"
#include "conf/libvirt.h"

#include <string>

namespace godwit::hypervisor::xen {

/// The format "xl-json", which is only read: the configuration in a file of "xl save".
base::Result<std::string> savedConfigAsXl(const char *json);

base::Result<conf::DomainDef> parseNative(const char *format, const char *text, virCaps *capabilities,
                                          virDomainXMLOption *option);
/// `connection`: whose networks the definition's interfaces name.
base::Result<conf::Text> formatNative(const char *format, virDomainDef *def, virConnectPtr connection);

} // namespace godwit::hypervisor::xen
