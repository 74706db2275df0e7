// SPDX-License-Identifier: LGPL-2.1-or-later
// libxl's converter of legacy streams, which LIBXL_CONVERT_HELPER names. Libxl calls it with
// "--in FD --out FD --width 32|64 --guest hvm|pv --format libxl"; people call Xen's own with
// more than that, and files.
#include "base/i18n.h"
#include "base/strprintf.h"
#include "tools/convert.h"
#include "tools/options.h"
#include "tools/output.h"

#include <cerrno>
#include <charconv>
#include <fcntl.h>

namespace godwit::tools {

using namespace base;

namespace {

std::optional<int> fdNumber(const std::string &text)
{
    int fd = -1;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), fd);
    if (failure != std::errc() || end != text.data() + text.size() || fd < 0)
        return std::nullopt;
    return fd;
}

Result<Input> openSource(const std::string &text)
{
    const auto number = fdNumber(text);
    if (!number)
        return openInput(text);
    UniqueFd fd(::fcntl(*number, F_DUPFD_CLOEXEC, 3));
    if (!fd)
        return systemError(errno, "--in %d", *number);
    return recognise(std::move(fd), strprintf("fd %d", *number));
}

Result<void> checkChoice(const char *name, const std::optional<std::string> &given,
                         std::initializer_list<std::string_view> allowed)
{
    for (std::string_view one : allowed)
        if (given == one)
            return {};
    return makeError(ErrorCode::InvalidArgument, tr("%s is missing or wrong"), name);
}

} // namespace

Result<ExitCode> runLibxlConverter(const Command &command, int argc, char **argv)
{
    std::optional<std::string> in, out, width, guest, format;
    bool withXlHeader = false, verbose = false, skipQemu = false, syslog = false;
    Options arguments(command);
    arguments.text("in", 'i', in, tr("Where the legacy stream comes from"), "FD|FILE");
    arguments.text("out", 'o', out, tr("Where the converted stream goes to"), "FD|FILE");
    arguments.text("width", 'w', width, tr("Ignored: the stream tells"), "32|64");
    arguments.text("guest", 'g', guest, tr("The guest's type"), "hvm|pv");
    arguments.text("guest-type", 0, guest, tr("The same"), "hvm|pv");
    arguments.text("format", 'f', format, tr("Of the converted stream; libxc if not given"), "libxl|libxc");
    arguments.flag("xl", 'x', withXlHeader, tr("Ignored: the header of xl is recognised"));
    arguments.flag("skip-qemu", 0, skipQemu, tr("The stream ends without a device model's state"));
    arguments.flag("verbose", 'v', verbose, tr("Ignored"));
    arguments.flag("syslog", 0, syslog, tr("Ignored"));
    const auto rest = TRY(arguments.parse(argc, argv, 0, 0));
    if (!rest)
        return ExitCode::Fine;
    if (!in || !out)
        return makeError(ErrorCode::InvalidArgument, "%s", tr("--in and --out are needed"));
    TRY(checkChoice("--width", width.value_or("64"), {"32", "64"}));
    TRY(checkChoice("--guest", guest, {"hvm", "pv"}));
    TRY(checkChoice("--format", format.value_or("libxc"), {"libxc", "libxl"}));

    stream::ConvertOptions options;
    options.bareLibxc = format != "libxl";
    options.read.guest = guest == "hvm" ? stream::libxc::DomainType::X86Hvm : stream::libxc::DomainType::X86Pv;
    options.read.deviceModel = !skipQemu;
    const Input input = TRY(openSource(*in));
    if (const auto number = fdNumber(*out)) {
        TRY_IN(strprintf(tr("converting %s to %s"), input.name.c_str(), strprintf("fd %d", *number).c_str()),
               convertInput(input, *number, options));
        return ExitCode::Fine;
    }
    Output output = TRY(Output::open(*out));
    TRY_IN(strprintf(tr("converting %s to %s"), input.name.c_str(), output.name().c_str()),
           convertInput(input, output.fd(), options));
    TRY(output.commit());
    return ExitCode::Fine;
}

} // namespace godwit::tools
