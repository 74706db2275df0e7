// SPDX-License-Identifier: LGPL-2.1-or-later
// godwit-stream diff
#include "base/i18n.h"
#include "base/strprintf.h"
#include "tools/image_digest.h"
#include "tools/options.h"
#include "tools/progress.h"
#include "tools/text_diff.h"

#include <cstdio>
#include <set>

namespace godwit::tools {

using namespace base;
using namespace stream;

namespace {

using Number = unsigned long long;

/// One of the two.
struct Side {
    Input input;
    ImageDigest digest;

    std::optional<std::string> configuration() const
    {
        if (input.savefile)
            return input.savefile->xml;
        if (input.xl && input.xl->config)
            return input.xl->config->substr(0, input.xl->config->find('\0'));
        return std::nullopt;
    }
};

std::string onlyIn(const std::string &what, const Side &side)
{
    return strprintf(tr("%s: only in %s\n"), what.c_str(), side.input.name.c_str());
}

std::string compareConfiguration(const Side &before, const Side &after)
{
    const auto old = before.configuration(), now = after.configuration();
    const std::string what = before.input.savefile || after.input.savefile ? tr("Domain XML") : tr("Configuration");
    if (old == now)
        return "";
    if (!old || !now)
        return onlyIn(what, old ? before : after);
    const std::string lines = unifiedDiff(*old, *now);
    return strprintf(tr("%s differs:\n"), what.c_str()) + lines;
}

std::string compareMemory(const ImageDigest &before, const ImageDigest &after)
{
    const auto ranges = differingPages(before, after);
    if (ranges.empty())
        return "";
    uint64_t pages = 0;
    std::string lines;
    for (const PageRange &range : ranges) {
        const uint64_t count = range.end - range.first;
        pages += count;
        lines += count == 1 ? strprintf(tr("  page 0x%llx\n"), Number{range.first})
                            : strprintf(tr("  pages 0x%llx-0x%llx (%llu)\n"), Number{range.first}, Number{range.end - 1},
                                        Number{count});
    }
    return strprintf(tr("Memory differs: %llu pages in %zu ranges\n"), Number{pages}, ranges.size()) + lines;
}

std::string compareParts(const Side &before, const Side &after)
{
    std::set<std::string> names;
    for (const Side *side : {&before, &after})
        for (const auto &[name, part] : side->digest.parts)
            names.insert(name);
    std::string out;
    for (const std::string &name : names) {
        const auto old = before.digest.parts.find(name), now = after.digest.parts.find(name);
        if (old == before.digest.parts.end() || now == after.digest.parts.end())
            out += onlyIn(name, now == after.digest.parts.end() ? before : after);
        else if (old->second != now->second)
            out += strprintf(tr("%s differs: %llu and %llu bytes\n"), name.c_str(), Number{old->second.length},
                             Number{now->second.length});
    }
    return out;
}

std::string compare(const Side &before, const Side &after)
{
    std::string out = compareConfiguration(before, after);
    if (before.digest.head.domain.type != after.digest.head.domain.type)
        out += tr("The guests' types differ\n");
    return out + compareMemory(before.digest, after.digest) + compareParts(before, after);
}

} // namespace

Result<ExitCode> runDiff(const Command &command, int argc, char **argv)
{
    bool brief = false;
    ContentsOptions options;
    std::optional<bool> showProgress;
    Options arguments(command);
    arguments.flag("brief", 'q', brief, tr("Print nothing: the exit status tells"));
    arguments.flag("checkpointed", 'c', options.checkpointed, tr("Legacy streams are of continuous protection (Remus)"));
    arguments.progress(showProgress);
    const auto names = TRY(arguments.parse(argc, argv, 2, 2));
    if (!names)
        return ExitCode::Fine;
    if (names->front() == "-" && names->back() == "-")
        return makeError(ErrorCode::InvalidArgument, "%s", tr("only one of the images can be standard input"));

    std::vector<Side> sides;
    for (const std::string &name : *names)
        sides.push_back({TRY(openInput(name)), {}});
    for (Side &side : sides) {
        Progress progress(strprintf(tr("Reading %s"), side.input.name.c_str()), side.input.size, showProgress);
        options.progress = [&](uint64_t offset) { progress.update(offset); };
        auto read = digest(side.input, options);
        progress.clear();
        side.digest = TRY(std::move(read));
    }
    const std::string differences = compare(sides.front(), sides.back());
    if (!brief)
        std::fputs(differences.c_str(), stdout);
    return differences.empty() ? ExitCode::Fine : ExitCode::No;
}

} // namespace godwit::tools
