// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace godwit::hypervisor::machine {

/// One option argument of QEMU's: `head,key=value,key=value`. A comma in a value is
/// doubled, which is how QEMU reads it back as one.
class Options
{
public:
    explicit Options(std::string_view head = {}) : text_(head) {}

    Options &add(std::string_view key, std::string_view value)
    {
        if (!text_.empty())
            text_ += ',';
        text_.append(key).append("=");
        for (const char c : value) {
            text_ += c;
            if (c == ',')
                text_ += ',';
        }
        return *this;
    }
    Options &add(std::string_view key, const char *value) { return add(key, std::string_view(value)); }
    Options &add(std::string_view key, const std::string &value) { return add(key, std::string_view(value)); }
    Options &add(std::string_view key, bool value) { return add(key, value ? "on" : "off"); }
    Options &add(std::string_view key, int value) { return add(key, std::to_string(value)); }
    Options &add(std::string_view key, unsigned value) { return add(key, std::to_string(value)); }
    Options &add(std::string_view key, uint64_t value) { return add(key, std::to_string(value)); }

    operator const std::string &() const { return text_; }

private:
    std::string text_;
};

} // namespace godwit::hypervisor::machine
