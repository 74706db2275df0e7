// SPDX-License-Identifier: LGPL-2.1-or-later
#include "conf/qemu_namespace.h"

namespace godwit::conf {

static int noticeElements(xmlXPathContextPtr context, void **mark)
{
    xmlXPathObjectPtr found =
        xmlXPathEval(reinterpret_cast<const xmlChar *>("./qemu:* | ./devices/qemu:*"), context);
    if (found && found->nodesetval && found->nodesetval->nodeNr > 0)
        *mark = g_strdup("qemu");
    xmlXPathFreeObject(found);
    return 0;
}

virXMLNamespace qemuNamespace()
{
    return {noticeElements, g_free, /* format= */ nullptr, "qemu", "http://libvirt.org/schemas/domain/qemu/1.0"};
}

} // namespace godwit::conf
