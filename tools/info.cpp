// SPDX-License-Identifier: LGPL-2.1-or-later
// godwit-stream info
#include "base/i18n.h"
#include "tools/image_info.h"
#include "tools/options.h"
#include "tools/progress.h"

#include <cstdio>

namespace godwit::tools {

using namespace base;

Result<ExitCode> runInfo(const Command &command, int argc, char **argv)
{
    bool json = false, quick = false, checkpointed = false;
    std::optional<bool> showProgress;
    Options arguments(command);
    arguments.flag("json", 'j', json, tr("Print JSON"));
    arguments.flag("quick", 'q', quick, tr("Do not read the pages, and do not count those that are zero"));
    arguments.reading(checkpointed, showProgress);
    const auto names = TRY(arguments.parse(argc, argv, 1, 1));
    if (!names)
        return ExitCode::Fine;

    const Input input = TRY(openInput(names->front()));
    Progress progress(tr("Reading"), input.size, showProgress);
    InfoOptions options;
    options.countZeros = !quick;
    options.reading.checkpointed = checkpointed;
    options.reading.progress = [&](uint64_t offset) { progress.update(offset); };
    const auto info = gatherInfo(input, options);
    progress.clear();
    if (!info)
        return info.error();
    std::fputs((json ? formatInfoJson(input, *info) : formatInfo(input, *info)).c_str(), stdout);
    return ExitCode::Fine;
}

} // namespace godwit::tools
