// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tools/printable.h"

namespace godwit::tools {

std::string printable(std::string text, std::string_view kept)
{
    for (size_t i = 0; i < text.size(); i++) {
        const auto byte = static_cast<unsigned char>(text[i]);
        if ((byte < ' ' || byte == 0x7f) && kept.find(text[i]) == kept.npos)
            text[i] = '?';
        // U+0080 to U+009F: a terminal takes them for two bytes with an escape.
        else if (byte == 0xc2 && i + 1 < text.size() && (static_cast<unsigned char>(text[i + 1]) & 0xe0) == 0x80)
            text.replace(i, 2, "?");
    }
    return text;
}

} // namespace godwit::tools
