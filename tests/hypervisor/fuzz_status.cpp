// SPDX-License-Identifier: LGPL-2.1-or-later
// Any status file of a machine guest.
#include "conf/libvirt.h"
#include "hypervisor/machine/launch.h"

#include <cstdint>
#include <cstdlib>

using namespace godwit;
using hypervisor::machine::Status;

extern "C" int LLVMFuzzerInitialize(int *, char ***);
extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static constexpr int quiet = XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING;

extern "C" int LLVMFuzzerInitialize(int *, char ***)
{
    return virInitialize();
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const std::unique_ptr<xmlDoc, conf::FreeWith<xmlFreeDoc>> document(
        xmlReadMemory(reinterpret_cast<const char *>(data), static_cast<int>(size), "status.xml", nullptr, quiet));
    if (!document)
        return 0;
    const std::unique_ptr<xmlXPathContext, conf::FreeWith<xmlXPathFreeContext>> context(xmlXPathNewContext(document.get()));
    context->node = xmlDocGetRootElement(document.get());
    const auto parsed = Status::parse(context.get());
    if (!parsed)
        return parsed.error().message.empty() ? std::abort(), 0 : 0;
    const auto &status = dynamic_cast<const Status &>(**parsed);
    if (!status.pages)
        return 0;
    // Written again it says the same.
    virBuffer buffer = VIR_BUFFER_INITIALIZER;
    virBufferAddLit(&buffer, "<domstatus>");
    status.pages->format(&buffer);
    virBufferAddLit(&buffer, "</domstatus>");
    const conf::Text text(virBufferContentAndReset(&buffer));
    const std::unique_ptr<xmlDoc, conf::FreeWith<xmlFreeDoc>> again(
        xmlReadMemory(text.get(), static_cast<int>(strlen(text.get())), "status.xml", nullptr, quiet));
    const std::unique_ptr<xmlXPathContext, conf::FreeWith<xmlXPathFreeContext>> inside(xmlXPathNewContext(again.get()));
    inside->node = xmlDocGetRootElement(again.get());
    const auto pages = hypervisor::machine::PendingStatus::parse(inside.get());
    if (!pages || !*pages || (*pages)->helper != status.pages->helper || (*pages)->image != status.pages->image)
        std::abort();
    return 0;
}
