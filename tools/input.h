// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// What a command is given to read: a file or standard input, and in it a stream, bare or
// behind the header of an image.

#include "base/unique_fd.h"
#include "stream/fd_io.h"
#include "stream/savefile.h"
#include "stream/skim_source.h"
#include "stream/xl_savefile.h"

#include <optional>
#include <string>
#include <vector>

namespace godwit::tools {

enum class Container : uint8_t { None, Libvirt, Xl };
enum class StreamFormat : uint8_t { Libxl, Libxc, Legacy };

struct Input {
    std::string name;                       ///< for messages
    base::UniqueFd fd;                      ///< stands at the stream, behind `start`
    bool isFile = false;
    std::optional<uint64_t> size;           ///< of a file
    Container container = Container::None;
    std::vector<std::byte> head;            ///< the container's, with XML or configuration
    std::optional<stream::SavefileHeader> savefile;
    std::optional<stream::XlSavefileHeader> xl;
    std::optional<std::string_view> config; ///< domain XML, or xl's configuration; stands in `head`
    StreamFormat format = StreamFormat::Libxl;
    uint64_t streamOffset = 0;
    std::vector<std::byte> start;           ///< of the stream: read from a pipe to recognise it
};

/// `path` "-" is standard input.
base::Result<base::UniqueFd> openInputFd(const std::string &path);
std::string inputName(const std::string &path);
/// Open and recognise.
base::Result<Input> openInput(const std::string &path);
/// The same from an fd, at its current position.
base::Result<Input> recognise(base::UniqueFd fd, std::string name);

/// Domain XML or xl's configuration, without the NUL that may end the latter.
std::optional<std::string_view> configurationText(const Input &input);

/// Reads the input's stream for somebody who wants all of its bytes elsewhere. Offsets count
/// from the input's first byte.
class DirectInput final : public stream::FdSource
{
public:
    explicit DirectInput(const Input &input) : FdSource(input.fd.get()), start_(input.start)
    {
        advance(input.streamOffset);
    }
    /// What was read to recognise the stream is part of its first header, and nobody asks
    /// for the fd before having read that.
    int directFd() const override { return fd_; }

protected:
    base::Result<size_t> readSome(std::span<const iovec> parts) override;

private:
    std::span<const std::byte> start_;
};

/// Reads or skips the input's stream for somebody who looks at it; offsets as above.
class SkimInput final : public stream::Source
{
public:
    explicit SkimInput(const Input &input) : skim_(input.fd.get()), start_(input.start) { advance(input.streamOffset); }
    base::Result<void> skip(uint64_t count) override;

protected:
    base::Result<size_t> readSome(std::span<const iovec> parts) override;

private:
    stream::SkimSource skim_;
    std::span<const std::byte> start_;
};

} // namespace godwit::tools
