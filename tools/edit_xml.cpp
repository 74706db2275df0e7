// SPDX-License-Identifier: LGPL-2.1-or-later
// godwit-stream edit-xml
#include "base/i18n.h"
#include "base/units.h"
#include "stream/convert_copy.h"
#include "stream/file_io.h"
#include "tools/domain_summary.h"
#include "tools/editor.h"
#include "tools/input.h"
#include "tools/options.h"
#include "tools/output.h"
#include "tools/progress.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <sys/stat.h>

namespace godwit::tools {

using namespace base;
using namespace stream;

namespace {

Result<std::string> readText(const std::string &path)
{
    const UniqueFd fd = TRY(openInputFd(path));
    FdSource source(fd.get());
    std::string text(maxXmlLength, '\0');   // as long as that it is too long already
    text.resize(TRY_IN(inputName(path), source.readUpTo(std::as_writable_bytes(std::span(text)))));
    return text;
}

Result<void> checkXml(const std::string &xml)
{
    if (xml.size() >= maxXmlLength)
        return makeError(ErrorCode::InvalidArgument, tr("the domain XML is too long: %zu bytes"), xml.size());
    if (xml.find('\0') != xml.npos)
        return makeError(ErrorCode::InvalidArgument, "%s", tr("the domain XML has a NUL inside"));
    const DomainSummary domain = TRY(summariseXml(xml));
    if (domain.name.empty())
        return makeError(ErrorCode::BadFormat, "%s", tr("the domain XML has no name"));
    return {};
}

/// From file to file: what is a hole stays one.
Result<void> copyFile(const Input &input, uint64_t end, int sink, Progress &progress)
{
    constexpr uint64_t piece = 64 * MiB;
    const int source = input.fd.get();
    const off_t from = ::lseek(source, 0, SEEK_CUR), to = ::lseek(sink, 0, SEEK_CUR);
    if (from < 0 || to < 0)
        return systemError(errno, "%s", tr("cannot seek"));
    const auto begin = static_cast<uint64_t>(from), out = static_cast<uint64_t>(to);
    DirectSource reading(source);
    DirectSink writing(sink);
    Copier copier(reading, writing);
    for (Extent data{begin, begin}; (data = nextData(source, data.end, end)).begin < end;) {
        if (::lseek(source, static_cast<off_t>(data.begin), SEEK_SET) < 0 ||
            ::lseek(sink, static_cast<off_t>(out + data.begin - begin), SEEK_SET) < 0)
            return systemError(errno, "%s", tr("cannot seek"));
        for (uint64_t at = data.begin; at < data.end; at += std::min(piece, data.end - at)) {
            TRY(copier.copy(reading, std::min(piece, data.end - at)));
            progress.update(input.streamOffset + at - begin);
        }
    }
    if (::ftruncate(sink, static_cast<off_t>(out + end - begin)) < 0)
        return systemError(errno, "%s", tr("cannot set the file's size"));
    return {};
}

/// To or from something else: as it comes.
Result<void> copyPipe(const Input &input, int sink, Progress &progress)
{
    constexpr uint64_t piece = 16 * MiB;
    DirectInput source(input);
    DirectSink writing(sink);
    Copier copier(source, writing);
    while (TRY(copier.copySome(piece)) > 0)
        progress.update(source.offset());
    return {};
}

Result<void> copyStream(const Input &input, const Output &output, Progress &progress)
{
    struct stat status{};
    if (::fstat(input.fd.get(), &status) < 0)
        return systemError(errno, "%s", input.name.c_str());
    if (S_ISREG(status.st_mode) && output.isFile())
        return copyFile(input, static_cast<uint64_t>(status.st_size), output.fd(), progress);
    return copyPipe(input, output.fd(), progress);
}

Result<void> writeImage(const Input &input, Output &output, const std::string &xml, std::optional<bool> showProgress)
{
    FdSink sink(output.fd());
    TRY_IN(input.name, rewriteSavefile(sink, std::span(input.head).first(savefileHeaderSize), input.savefile->version, xml));
    Progress progress(tr("Copying"), input.size, showProgress);
    const auto outcome = copyStream(input, output, progress);
    progress.clear();
    TRY_IN(input.name, outcome);
    return output.commit();
}

/// Where the changed image goes: "" is where it came from.
Result<std::string> chooseOutput(const std::vector<std::string> &names, const std::optional<std::string> &file)
{
    if (names.front() == "-" && file == "-")
        return makeError(ErrorCode::InvalidArgument, "%s", tr("only one thing can come from standard input"));
    if (names.size() > 1)
        return names.back();
    return std::string(names.front() == "-" ? "-" : "");
}

/// What somebody typed is not lost because there is no room for an image.
Error keeping(const Error &error, const std::string &text)
{
    const auto kept = keepText(text);
    return kept ? makeError(error.code, tr("%s; your text is kept in '%s'"), error.message.c_str(), kept->c_str()) : error;
}

} // namespace

Result<ExitCode> runEditXml(const Command &command, int argc, char **argv)
{
    std::optional<std::string> file;
    std::optional<bool> showProgress;
    Options arguments(command);
    arguments.text("xml", 'x', file, tr("Take the new domain XML from FILE (\"-\": standard input), start no editor"), "FILE");
    arguments.progress(showProgress);
    const auto names = TRY(arguments.parse(argc, argv, 1, 2));
    if (!names)
        return ExitCode::Fine;
    const std::string destination = TRY(chooseOutput(*names, file));

    const Input input = TRY(openInput(names->front()));
    if (input.container != Container::Libvirt)
        return makeError(ErrorCode::Unsupported, tr("%s is no image of libvirt's and has no domain XML"), input.name.c_str());
    if (destination.empty() && !input.isFile)
        return makeError(ErrorCode::InvalidArgument, tr("%s is no regular file: name an OUTPUT"), input.name.c_str());
    Output output = TRY(Output::open(destination.empty() ? names->front() : destination));
    const std::string xml = file ? TRY(readText(*file)) : TRY(editText(*input.config, checkXml));
    TRY(checkXml(xml));
    if (destination.empty() && xml == *input.config) {
        std::puts(tr("The domain XML stays as it is."));
        return ExitCode::Fine;
    }
    const auto written = writeImage(input, output, xml, showProgress);
    if (!written)
        return file ? written.error() : keeping(written.error(), xml);
    return ExitCode::Fine;
}

} // namespace godwit::tools
