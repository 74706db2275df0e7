// SPDX-License-Identifier: LGPL-2.1-or-later
#include "migration/negotiation.h"

#include <cstdint>
#include <cstdlib>
#include <string>

using namespace godwit::migration;

extern "C" int LLVMFuzzerInitialize(int *, char ***);
extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

extern "C" int LLVMFuzzerInitialize(int *, char ***)
{
    // libvirt tells each refusal on stderr otherwise.
    setenv("LIBVIRT_LOG_OUTPUTS", "1:file:/dev/null", 1);
    virSetErrorFunc(nullptr, [](void *, virErrorPtr) {});
    return virInitialize();
}

/// What can be read can be answered, and what is chosen of it is what was offered.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const std::string text(reinterpret_cast<const char *>(data), size);
    const auto cookie = parseCookie(text.c_str(), static_cast<int>(text.size() + 1));
    if (!cookie)
        return 0;
    const auto again = parseCookie(formatCookie(*cookie).c_str(), static_cast<int>(formatCookie(*cookie).size() + 1));
    if (!again || again->extension.has_value() != cookie->extension.has_value())
        std::abort();
    const Abilities offer = offerOf(*cookie);
    const auto chosen = choose(offer, cookie->hostname, destinationAbilities(), "fuzz");
    if (!chosen)
        return 0;
    Cookie reply;
    reply.extension.emplace();
    reply.extension->abilities = *chosen;
    if (!checkChoice(offer, reply, /* tunnelled= */ true))
        std::abort();
    return 0;
}
