// SPDX-License-Identifier: LGPL-2.1-or-later
// godwit-stream diff
#include "base/i18n.h"
#include "base/strprintf.h"
#include "tools/image_digest.h"
#include "tools/options.h"
#include "tools/printable.h"
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
};

/// What differs goes to standard output, unless only the exit status matters.
class Differences
{
public:
    explicit Differences(bool brief) : brief_(brief) {}

    void add(const std::string &text)
    {
        found_ = true;
        if (!brief_)
            std::fputs(printable(text, "\n\t").c_str(), stdout);
    }
    void addOnlyIn(const std::string &what, const Side &side)
    {
        add(strprintf(tr("%s: only in %s\n"), what.c_str(), side.input.name.c_str()));
    }
    bool found() const { return found_; }
    /// There is nothing more to learn.
    bool settled() const { return brief_ && found_; }

private:
    bool brief_, found_ = false;
};

void compareConfiguration(const Side &before, const Side &after, Differences &out)
{
    const auto old = configurationText(before.input), now = configurationText(after.input);
    const std::string what = before.input.savefile || after.input.savefile ? tr("Domain XML") : tr("Configuration");
    if (old == now)
        return;
    if (!old || !now)
        return out.addOnlyIn(what, old ? before : after);
    out.add(strprintf(tr("%s differs:\n"), what.c_str()) + unifiedDiff(*old, *now));
}

/// Twice over the hashes: the ranges may be too many to be kept.
Result<void> compareMemory(const ImageDigest &before, const ImageDigest &after, Differences &out)
{
    uint64_t pages = 0, ranges = 0;
    TRY(compareHashes(before.pages, after.pages, [&](PageRange range) {
        pages += range.end - range.first;
        ranges++;
    }));
    if (pages == 0)
        return {};
    out.add(strprintf(tr("Memory differs: %llu pages in %llu ranges\n"), Number{pages}, Number{ranges}));
    if (out.settled())
        return {};
    return compareHashes(before.pages, after.pages, [&](PageRange range) {
        const uint64_t count = range.end - range.first;
        out.add(count == 1 ? strprintf(tr("  page 0x%llx\n"), Number{range.first})
                           : strprintf(tr("  pages 0x%llx-0x%llx (%llu)\n"), Number{range.first}, Number{range.end - 1},
                                       Number{count}));
    });
}

void compareParts(const Side &before, const Side &after, Differences &out)
{
    std::set<std::string> names;
    for (const Side *side : {&before, &after})
        for (const auto &[name, part] : side->digest.parts)
            names.insert(name);
    for (const std::string &name : names) {
        const auto old = before.digest.parts.find(name), now = after.digest.parts.find(name);
        if (old == before.digest.parts.end() || now == after.digest.parts.end())
            out.addOnlyIn(name, now == after.digest.parts.end() ? before : after);
        else if (old->second != now->second)
            out.add(strprintf(tr("%s differs: %llu and %llu bytes\n"), name.c_str(), Number{old->second.length},
                              Number{now->second.length}));
    }
}

Result<void> compare(const Side &before, const Side &after, Differences &out)
{
    compareConfiguration(before, after, out);
    if (before.digest.head.domain.type != after.digest.head.domain.type)
        out.add(tr("The guests' types differ\n"));
    TRY(compareMemory(before.digest, after.digest, out));
    compareParts(before, after, out);
    return {};
}

} // namespace

Result<ExitCode> runDiff(const Command &command, int argc, char **argv)
{
    bool brief = false;
    ContentsOptions options;
    std::optional<bool> showProgress;
    Options arguments(command);
    arguments.flag("brief", 'q', brief, tr("Print nothing: the exit status tells"));
    arguments.reading(options.checkpointed, showProgress);
    const auto names = TRY(arguments.parse(argc, argv, 2, 2));
    if (!names)
        return ExitCode::Fine;
    if (names->front() == "-" && names->back() == "-")
        return makeError(ErrorCode::InvalidArgument, "%s", tr("only one of the images can be standard input"));

    std::vector<Input> inputs;
    for (const std::string &name : *names)
        inputs.push_back(TRY(openInput(name)));
    std::vector<Side> sides;
    for (Input &input : inputs) {
        Progress progress(strprintf(tr("Reading %s"), input.name.c_str()), input.size, showProgress);
        options.progress = [&](uint64_t offset) { progress.update(offset); };
        auto read = digest(input, options);
        progress.clear();
        ImageDigest found = TRY(std::move(read));
        sides.push_back({std::move(input), std::move(found)});
    }
    Differences differences(brief);
    TRY(compare(sides.front(), sides.back(), differences));
    return differences.found() ? ExitCode::No : ExitCode::Fine;
}

} // namespace godwit::tools
