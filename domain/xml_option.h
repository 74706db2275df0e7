// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "conf/handle.h"

namespace godwit::domain {

class Host;

/// libvirt's domain parser and formatter, with our hooks for `host`'s hypervisor, our
/// private data and our jobs.
conf::ObjectRef<virDomainXMLOption> makeXmlOption(Host &host);

} // namespace godwit::domain
