// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tools/input.h"

#include "base/i18n.h"
#include "stream/legacy_format.h"
#include "stream/libxl_format.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>

namespace godwit::tools {

using namespace base;
using namespace stream;

namespace {

// Enough to tell everything apart, and less than any stream's first header.
constexpr size_t startSize = 8;

Result<void> readLibvirtHead(Input &input, Source &source)
{
    input.container = Container::Libvirt;
    const SavefileHeader &header = input.savefile.emplace(TRY_IN(tr("image header"), readSavefileHead(source, input.head)));
    input.config = TRY_IN(tr("domain XML"), findSavefileXml(header, std::span(input.head).subspan(savefileHeaderSize)));
    input.format = header.version == SavefileVersion::Legacy ? StreamFormat::Legacy : StreamFormat::Libxl;
    return {};
}

Result<void> readXlHead(Input &input, Source &source)
{
    input.container = Container::Xl;
    const XlSavefileHeader &header = input.xl.emplace(TRY_IN(tr("xl's header"), readXlSavefileHead(source, input.head)));
    input.config = TRY_IN(tr("xl's configuration"),
                          findXlSavefileConfig(header, std::span(input.head).subspan(xlSavefileHeaderSize)));
    input.format = header.isLegacy() ? StreamFormat::Legacy : StreamFormat::Libxl;
    return {};
}

bool isChunkOrBatch(uint32_t word)
{
    const auto id = static_cast<int32_t>(word);
    return (id > 0 && id <= legacy::maxBatch) || legacy::findChunk(id);
}

/// Legacy streams begin with two numbers and no magic: what these may be decides.
bool mayBeLegacy(std::span<const std::byte> start)
{
    if (start.size() < legacy::sniffLength)
        return false;
    const auto sniffed = legacy::sniff(start.first<legacy::sniffLength>());
    if (!sniffed || sniffed->p2mSize == 0)
        return false;
    return !sniffed->next || *sniffed->next == legacy::extendedInfoMark || isChunkOrBatch(*sniffed->next);
}

Result<StreamFormat> formatOf(std::span<const std::byte> start)
{
    if (start.empty())
        return makeError(ErrorCode::BadFormat, "%s", tr("is empty"));
    if (start.size() == startSize) {
        Reader in(start, ByteOrder::big);
        const uint64_t word = TRY(in.u64());
        if (word == libxl::ident)
            return StreamFormat::Libxl;
        if (word == libxc::marker)
            return StreamFormat::Libxc;
    }
    if (mayBeLegacy(start))
        return StreamFormat::Legacy;
    return makeError(ErrorCode::BadFormat, "%s", tr("is no saved image and no migration stream"));
}

Result<void> readHead(Input &input)
{
    FdSource source(input.fd.get());
    std::vector<std::byte> start(startSize);
    start.resize(TRY(source.readUpTo(start)));
    const std::string_view magic = asText(start);
    // Those that are not ours are told apart, and refused, by the header's decoder.
    for (const char *known : {"libvirt-", "LibvirtQ", "LinuxGue", "Xen save"}) {
        if (magic != known)
            continue;
        const auto read = magic == "Xen save" ? readXlHead : readLibvirtHead;
        input.head = std::move(start);
        TRY(read(input, source));
        input.streamOffset = source.offset();
        return {};
    }
    input.format = TRY(formatOf(start));
    if (!input.isFile)
        input.start = std::move(start);
    else if (::lseek(input.fd.get(), -static_cast<off_t>(start.size()), SEEK_CUR) < 0)
        return systemError(errno, "%s", tr("cannot seek"));
    return {};
}

} // namespace

Result<Input> recognise(UniqueFd fd, std::string name)
{
    Input input;
    input.name = std::move(name);
    input.fd = std::move(fd);
    struct stat status{};
    if (::fstat(input.fd.get(), &status) < 0)
        return systemError(errno, "%s", input.name.c_str());
    input.isFile = S_ISREG(status.st_mode);
    if (input.isFile) {
        const off_t at = ::lseek(input.fd.get(), 0, SEEK_CUR);
        if (at >= 0 && at <= status.st_size)
            input.size = static_cast<uint64_t>(status.st_size - at);
    }
    TRY_IN(input.name, readHead(input));
    return input;
}

std::string inputName(const std::string &path)
{
    return path == "-" ? tr("standard input") : "'" + path + "'";
}

Result<UniqueFd> openInputFd(const std::string &path)
{
    UniqueFd fd(path == "-" ? ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3) : ::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd)
        return systemError(errno, tr("cannot open %s"), inputName(path).c_str());
    return fd;
}

Result<Input> openInput(const std::string &path)
{
    return recognise(TRY(openInputFd(path)), inputName(path));
}

std::optional<std::string_view> configurationText(const Input &input)
{
    if (!input.config)
        return std::nullopt;
    return input.config->substr(0, input.config->find('\0'));
}

/// From the front of `start`, which becomes shorter.
static size_t takeStart(std::span<const std::byte> &start, const iovec &into)
{
    const size_t count = std::min(start.size(), into.iov_len);
    std::memcpy(into.iov_base, start.data(), count);
    start = start.subspan(count);
    return count;
}

Result<size_t> DirectInput::readSome(std::span<const iovec> parts)
{
    return start_.empty() ? FdSource::readSome(parts) : takeStart(start_, parts[0]);
}

Result<size_t> SkimInput::readSome(std::span<const iovec> parts)
{
    if (!start_.empty())
        return takeStart(start_, parts[0]);
    return skim_.readUpTo({static_cast<std::byte *>(parts[0].iov_base), parts[0].iov_len});
}

Result<void> SkimInput::skip(uint64_t count)
{
    const auto fromStart = std::min<uint64_t>(count, start_.size());
    start_ = start_.subspan(fromStart);
    TRY(skim_.skip(count - fromStart));
    advance(count);
    return {};
}

} // namespace godwit::tools
