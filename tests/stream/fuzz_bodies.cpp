// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/stream/streams.h"

#include <cstdint>
#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!godwit::tests::checkBodies(std::as_bytes(std::span(data, size))))
        std::abort();
    return 0;
}
