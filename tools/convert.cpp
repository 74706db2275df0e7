// SPDX-License-Identifier: LGPL-2.1-or-later
// godwit-stream convert
#include "tools/convert.h"

#include "base/i18n.h"
#include "base/strprintf.h"
#include "stream/convert_copy.h"
#include "tools/options.h"
#include "tools/output.h"
#include "tools/progress.h"

namespace godwit::tools {

using namespace base;
using namespace stream;

static Result<void> writeHead(Sink &sink, const Input &input, bool bareLibxc)
{
    const auto head = std::span(input.head);
    if (input.savefile)
        return rewriteSavefile(sink, head.first(savefileHeaderSize), SavefileVersion::Libxl2, *input.config);
    if (!input.xl || bareLibxc)   // of a bare stream xl's flag has nothing to say: as Xen's converter
        return sink.write(head);
    // Only a flag changes; what stands behind the configuration stays, too.
    constexpr size_t flagsAt = 36;
    Writer start(input.xl->order);
    start.bytes(head.first(flagsAt));
    start.u32(input.xl->mandatoryFlags | xlFlagStreamV2);
    TRY(sink.write(start.data()));
    return sink.write(head.subspan(start.size()));
}

Result<void> convertInput(const Input &input, int sink, const ConvertOptions &options)
{
    if (input.format != StreamFormat::Legacy)
        return makeError(ErrorCode::Unsupported, "%s", tr("this is no legacy stream: there is nothing to convert"));
    if (options.bareLibxc && input.savefile)
        return makeError(ErrorCode::InvalidArgument, "%s", tr("an image holds a libxl stream: --format libxc is for bare streams"));
    DirectSink out(sink);
    TRY(writeHead(out, input, options.bareLibxc));
    DirectInput source(input);
    return convert(source, out, options);
}

static Result<ConvertOptions> takeOptions(const std::optional<std::string> &format, const std::optional<std::string> &guest)
{
    ConvertOptions out;
    if (format && *format != "libxl" && *format != "libxc")
        return makeError(ErrorCode::InvalidArgument, tr("--format is libxl or libxc, not '%s'"), format->c_str());
    if (guest && *guest != "hvm" && *guest != "pv")
        return makeError(ErrorCode::InvalidArgument, tr("--guest is hvm or pv, not '%s'"), guest->c_str());
    out.bareLibxc = format == "libxc";
    if (guest)
        out.read.guest = *guest == "hvm" ? libxc::DomainType::X86Hvm : libxc::DomainType::X86Pv;
    return out;
}

Result<ExitCode> runConvert(const Command &command, int argc, char **argv)
{
    std::optional<std::string> format, guest;
    std::optional<bool> showProgress;
    bool checkpointed = false;
    Options arguments(command);
    arguments.text("format", 'f', format, tr("Write a libxl stream (the default) or a bare libxc stream"), "libxl|libxc");
    arguments.text("guest", 'g', guest, tr("The guest's type, if the stream is not to tell"), "hvm|pv");
    arguments.reading(checkpointed, showProgress);
    const auto names = TRY(arguments.parse(argc, argv, 1, 2));
    if (!names)
        return ExitCode::Fine;
    ConvertOptions options = TRY(takeOptions(format, guest));
    options.read.checkpointed = checkpointed;

    const Input input = TRY(openInput(names->front()));
    if (options.bareLibxc && input.container != Container::None)
        return makeError(ErrorCode::InvalidArgument, "%s", tr("an image holds a libxl stream: --format libxc is for bare streams"));
    Output output = TRY(Output::open(names->size() > 1 ? names->back() : "-"));
    if (input.size)
        output.expect(*input.size);
    Progress progress(tr("Converting"), input.size, showProgress);
    options.progress = [&](uint64_t read, uint64_t) { progress.update(read); };
    const auto outcome = convertInput(input, output.fd(), options);
    progress.clear();
    TRY_IN(strprintf(tr("converting %s to %s"), input.name.c_str(), output.name().c_str()), outcome);
    TRY(output.commit());
    return ExitCode::Fine;
}

} // namespace godwit::tools
