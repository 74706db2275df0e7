// SPDX-License-Identifier: LGPL-2.1-or-later
// godwit-stream verify
#include "stream/verify.h"

#include "base/i18n.h"
#include "base/strprintf.h"
#include "tools/input.h"
#include "tools/options.h"
#include "tools/printable.h"
#include "tools/progress.h"

#include <cstdio>
#include <sys/stat.h>

namespace godwit::tools {

using namespace base;
using namespace stream;

namespace {

using Number = unsigned long long;

/// A legacy stream does not say that it has checkpoints, so verifyImage() cannot know.
Result<Report> verifyCheckpoints(UniqueFd fd, const std::string &name, const VerifyOptions &options)
{
    const Input input = TRY(recognise(std::move(fd), name));
    if (input.format != StreamFormat::Legacy)
        return makeError(ErrorCode::InvalidArgument, tr("--checkpointed is for legacy streams, which %s is not"), name.c_str());
    SkimInput source(input);
    legacy::ReadOptions reading;
    reading.checkpointed = true;
    return verifyLegacyStream(source, options, reading);
}

void print(const std::string &path, const Report &report)
{
    const std::string name = printable(path);
    for (const Finding &finding : report.findings)
        std::printf("%s: %s\n", finding.severity == Severity::Error ? tr("error") : tr("warning"), printable(finding.text()).c_str());
    const uint64_t more = report.errors + report.warnings - report.findings.size();
    if (more > 0)
        std::printf(tr("and %llu more\n"), Number{more});
    if (report.isValid())
        std::printf(tr("%s is valid, warnings: %llu\n"), name.c_str(), Number{report.warnings});
    else
        std::printf(tr("%s is not valid, errors: %llu, warnings: %llu\n"), name.c_str(), Number{report.errors},
                    Number{report.warnings});
}

std::optional<uint64_t> sizeOf(int fd)
{
    struct stat status{};
    if (::fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
        return std::nullopt;
    return static_cast<uint64_t>(status.st_size);
}

} // namespace

Result<ExitCode> runVerify(const Command &command, int argc, char **argv)
{
    bool quiet = false, checkpointed = false;
    std::optional<bool> showProgress;
    Options arguments(command);
    arguments.flag("quiet", 'q', quiet, tr("Print nothing: the exit status tells"));
    arguments.reading(checkpointed, showProgress);
    const auto names = TRY(arguments.parse(argc, argv, 1, 1));
    if (!names)
        return ExitCode::Fine;

    const std::string name = inputName(names->front());
    UniqueFd fd = TRY(openInputFd(names->front()));
    Progress progress(tr("Verifying"), sizeOf(fd.get()), showProgress);
    VerifyOptions options;
    options.progress = [&](uint64_t offset) { progress.update(offset); };
    const auto report = checkpointed ? verifyCheckpoints(std::move(fd), name, options) : verifyImage(fd.get(), options);
    progress.clear();
    if (!report)
        return checkpointed ? report.error() : report.error().in(name);
    if (!quiet)
        print(name, *report);
    return report->isValid() ? ExitCode::Fine : ExitCode::No;
}

} // namespace godwit::tools
