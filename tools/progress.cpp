// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tools/progress.h"

#include "base/i18n.h"
#include "base/strprintf.h"
#include "base/units.h"

#include <algorithm>
#include <cstdio>
#include <unistd.h>

namespace godwit::tools {

using namespace base;
using namespace std::chrono_literals;

static constexpr auto interval = 100ms;
static constexpr size_t barWidth = 30;

Progress::Progress(std::string what, std::optional<uint64_t> total, std::optional<bool> wanted)
    : what_(std::move(what)), total_(total), shown_(wanted.value_or(::isatty(STDERR_FILENO) == 1)),
      began_(Clock::now()), next_(began_)
{
}

void Progress::update(uint64_t done)
{
    if (!shown_)
        return;
    const auto now = Clock::now();
    if (now < next_)
        return;
    next_ = now + interval;
    draw(done, now);
}

void Progress::draw(uint64_t done, Clock::time_point now)
{
    const double seconds = std::max(std::chrono::duration<double>(now - began_).count(), 0.001);
    const auto mebibytes = static_cast<double>(done) / static_cast<double>(MiB);
    std::string bar;
    if (total_ && *total_ > 0) {
        const double share = std::min(static_cast<double>(done) / static_cast<double>(*total_), 1.0);
        bar.assign(static_cast<size_t>(share * barWidth), '#');
        bar.resize(barWidth, '.');
        bar = strprintf("[%s] %3.0f %%  ", bar.c_str(), share * 100);
    }
    // Translators: what is going on, a bar, MiB done, MiB per second.
    std::fprintf(stderr, tr("\r%s %s%.0f MiB, %.0f MiB/s\033[K"), what_.c_str(), bar.c_str(), mebibytes,
                 mebibytes / seconds);
    std::fflush(stderr);
    drawn_ = true;
}

void Progress::clear()
{
    if (drawn_)
        std::fputs("\r\033[K", stderr);
    drawn_ = false;
}

} // namespace godwit::tools
