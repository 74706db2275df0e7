// SPDX-License-Identifier: LGPL-2.1-or-later
// godwit-stream edit-xml
#include "base/i18n.h"
#include "base/units.h"
#include "stream/convert_copy.h"
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
    const DomainSummary domain = TRY(summariseXml(xml));
    if (domain.name.empty())
        return makeError(ErrorCode::BadFormat, "%s", tr("the domain XML has no name"));
    return {};
}

/// All bytes up to the end, at their new place; holes stay holes where the filesystem knows them.
Result<void> copyStream(const Input &input, int sink, Progress &progress)
{
    constexpr uint64_t piece = 64 * MiB;
    const int source = input.fd.get();
    struct stat status{};
    if (::fstat(source, &status) < 0)
        return systemError(errno, "%s", input.name.c_str());
    const auto end = static_cast<uint64_t>(status.st_size);
    const auto out = static_cast<uint64_t>(::lseek(sink, 0, SEEK_CUR));
    for (uint64_t at = input.streamOffset; at < end;) {
        const off_t data = ::lseek(source, static_cast<off_t>(at), SEEK_DATA);
        if (data < 0 && errno == ENXIO)
            break;   // a hole up to the end
        const off_t hole = data < 0 ? -1 : ::lseek(source, data, SEEK_HOLE);
        const uint64_t from = data < 0 ? at : static_cast<uint64_t>(data);
        const uint64_t to = hole < 0 ? end : static_cast<uint64_t>(hole);
        if (::lseek(source, static_cast<off_t>(from), SEEK_SET) < 0 ||
            ::lseek(sink, static_cast<off_t>(out + from - input.streamOffset), SEEK_SET) < 0)
            return systemError(errno, "%s", tr("cannot seek"));
        DirectSource reading(source);
        DirectSink writing(sink);
        Copier copier(reading, writing);
        for (uint64_t done = 0; from + done < to;) {
            const uint64_t length = std::min(piece, to - from - done);
            TRY(copier.copy(reading, length));
            done += length;
            progress.update(from + done);
        }
        at = to;
    }
    if (::ftruncate(sink, static_cast<off_t>(out + end - input.streamOffset)) < 0)
        return systemError(errno, "%s", tr("cannot write the stream"));
    return {};
}

Result<void> replaceXml(const Input &input, const std::string &path, const std::string &xml, std::optional<bool> showProgress)
{
    Output output = TRY(Output::open(path));
    FdSink sink(output.fd());
    TRY_IN(input.name, rewriteSavefile(sink, std::span(input.head).first(savefileHeaderSize), input.savefile->version, xml));
    Progress progress(tr("Copying"), input.size, showProgress);
    TRY_IN(input.name, copyStream(input, output.fd(), progress));
    progress.clear();
    return output.commit();
}

} // namespace

Result<ExitCode> runEditXml(const Command &command, int argc, char **argv)
{
    std::optional<std::string> file;
    std::optional<bool> showProgress;
    Options arguments(command);
    arguments.text("xml", 'x', file, tr("Take the new domain XML from FILE (\"-\": standard input), start no editor"), "FILE");
    arguments.progress(showProgress);
    const auto names = TRY(arguments.parse(argc, argv, 1, 1));
    if (!names)
        return ExitCode::Fine;
    const std::string &path = names->front();
    if (path == "-")
        return makeError(ErrorCode::InvalidArgument, "%s", tr("an image that is to be changed is no pipe: name a file"));

    const Input input = TRY(openInput(path));
    if (input.container != Container::Libvirt)
        return makeError(ErrorCode::Unsupported, tr("%s is no image of libvirt's and has no domain XML"), input.name.c_str());
    if (!input.isFile)
        return makeError(ErrorCode::Unsupported, tr("%s is no regular file"), input.name.c_str());
    const std::string xml = file ? TRY(readText(*file)) : TRY(editText(*input.config, checkXml));
    TRY(checkXml(xml));
    if (xml == *input.config)
        std::puts(tr("The domain XML stays as it is."));
    else
        TRY(replaceXml(input, path, xml, showProgress));
    return ExitCode::Fine;
}

} // namespace godwit::tools
