// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace godwit::tools {

/// A bar on standard error for something that may take long; gone when that is over.
class Progress
{
public:
    /// Without `total` only how much and how fast. `wanted`: what the user said; else a
    /// terminal decides.
    Progress(std::string what, std::optional<uint64_t> total, std::optional<bool> wanted);
    Progress(const Progress &) = delete;
    Progress &operator=(const Progress &) = delete;
    ~Progress() { clear(); }

    /// Cheap: it may be called for every record.
    void update(uint64_t done);
    /// Before anything else is written to standard error.
    void clear();

private:
    using Clock = std::chrono::steady_clock;
    void draw(uint64_t done, Clock::time_point now);

    std::string what_;
    std::optional<uint64_t> total_;
    bool shown_ = false, drawn_ = false;
    Clock::time_point began_, next_;
};

} // namespace godwit::tools
