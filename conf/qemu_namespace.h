// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "conf/libvirt.h"

namespace godwit::conf {

/// QEMU's own XML namespace, only to be noticed: a definition that uses it carries a mark in
/// namespaceData, so that it is refused instead of started without what it asks for.
virXMLNamespace qemuNamespace();

} // namespace godwit::conf
