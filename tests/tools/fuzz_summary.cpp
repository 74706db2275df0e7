// SPDX-License-Identifier: LGPL-2.1-or-later
// Any text as an image's XML or configuration.
#include "tools/domain_summary.h"

#include <cstdint>
#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const std::string_view text(reinterpret_cast<const char *>(data), size);
    for (const auto &summary : {godwit::tools::summariseXml(text), godwit::tools::summariseXlConfig(text)})
        if (!summary && summary.error().message.empty())
            std::abort();
    (void)godwit::tools::summariseXlText(text);
    return 0;
}
