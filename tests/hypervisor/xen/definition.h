// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "conf/handle.h"

#include <string>

namespace godwit::hypervisor::xen {

/// A host that runs every kind of guest, with a CPU that has vmx.
conf::ObjectRef<virCaps> testCapabilities();
/// libvirt's parser with the xen hypervisor's hooks.
conf::ObjectRef<virDomainXMLOption> testXmlOption();
conf::DomainDef parseFile(const std::string &path);
std::string readText(const std::string &path);

} // namespace godwit::hypervisor::xen
