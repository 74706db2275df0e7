// SPDX-License-Identifier: LGPL-2.1-or-later
// Any line of an emulator.
#include "hypervisor/machine/json.h"

#include <cstdint>
#include <cstdlib>

using namespace godwit::hypervisor::machine;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void lookAt(const Json &value)
{
    (void)value.integer();
    (void)value.number();
    (void)value.boolean();
    (void)value.string();
    for (const Json &element : value.elements())
        lookAt(element);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const auto line = Json::parse({reinterpret_cast<const char *>(data), size});
    if (!line)
        return line.error().message.empty() ? std::abort(), 0 : 0;
    lookAt(*line);
    for (const char *path : {"event", "return", "error.desc", "data.a.b.c", "timestamp.seconds", ".", ""})
        lookAt((*line)[path]);
    (void)line->text();
    return 0;
}
