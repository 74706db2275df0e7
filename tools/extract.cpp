// SPDX-License-Identifier: LGPL-2.1-or-later
// godwit-stream extract
#include "base/i18n.h"
#include "base/strprintf.h"
#include "tools/contents.h"
#include "tools/memory_file.h"
#include "tools/options.h"
#include "tools/output.h"
#include "tools/progress.h"

#include <cerrno>

namespace godwit::tools {

using namespace base;
using namespace stream;

namespace {

Result<std::string_view> configurationOf(const Input &input)
{
    if (const auto text = configurationText(input))
        return *text;
    return makeError(ErrorCode::Unsupported, tr("%s has no domain XML and no configuration"), input.name.c_str());
}

/// Takes what is wanted; of what comes again, the last counts.
class Extractor final : public Contents
{
public:
    Extractor(MemoryFile *memory, const Output *state) : memory_(memory), state_(state) {}

    Result<void> pages(std::span<const libxc::PageWord> words) override
    {
        return memory_ ? memory_->note(words) : Result<void>();
    }
    Result<void> pageData(std::span<const libxc::PageWord> words, Source &data) override
    {
        return memory_ ? memory_->write(words, data) : Result<void>();
    }
    Result<void> deviceState(const libxl::EmulatorHeader &, std::optional<uint64_t>, Source &state) override
    {
        if (!state_)
            return {};
        if (stateSeen_ && !state_->isFile())
            return makeError(ErrorCode::InvalidArgument, "%s", tr("the stream has several device states, the last of which counts: name a file"));
        stateSeen_ = true;
        if (state_->isFile() && (::ftruncate(state_->fd(), 0) < 0 || ::lseek(state_->fd(), 0, SEEK_SET) < 0))
            return systemError(errno, tr("cannot write %s"), state_->name().c_str());
        FdSink sink(state_->fd());
        std::vector<std::byte> buffer(256 * 1024);
        for (size_t count = buffer.size(); count == buffer.size();) {
            count = TRY(state.readUpTo(buffer));
            TRY_IN(state_->name(), sink.write(std::span(buffer).first(count)));
        }
        return {};
    }

    bool stateSeen() const { return stateSeen_; }

private:
    MemoryFile *memory_;
    const Output *state_;
    bool stateSeen_ = false;
};

struct Wanted {
    std::optional<std::string> xml, deviceState, memory;
    ContentsOptions reading;
    std::optional<bool> showProgress;
};

Result<void> checkWanted(const Wanted &wanted)
{
    int toStandardOutput = 0;
    for (const auto &path : {wanted.xml, wanted.deviceState, wanted.memory})
        toStandardOutput += path == "-" ? 1 : 0;
    if (!wanted.xml && !wanted.deviceState && !wanted.memory)
        return makeError(ErrorCode::InvalidArgument, "%s", tr("say what to extract: --xml, --device-state, --memory"));
    if (toStandardOutput > 1)
        return makeError(ErrorCode::InvalidArgument, "%s", tr("only one thing can go to standard output"));
    return {};
}

Result<void> writeConfiguration(const Input &input, const Output &output)
{
    const std::string_view text = TRY(configurationOf(input));
    FdSink sink(output.fd());
    TRY_IN(output.name(), sink.write(std::as_bytes(std::span(text))));
    return {};
}

Result<std::optional<Output>> openWanted(const std::optional<std::string> &path, bool isText = false)
{
    if (!path)
        return std::optional<Output>();
    return std::optional(TRY(Output::open(*path, isText)));
}

Result<void> extract(const Input &input, const Wanted &wanted)
{
    auto xml = TRY(openWanted(wanted.xml, /* isText= */ true));
    auto state = TRY(openWanted(wanted.deviceState));
    auto memory = TRY(openWanted(wanted.memory));
    if (xml)
        TRY(writeConfiguration(input, *xml));
    if (state || memory) {
        std::optional<MemoryFile> pages;
        if (memory)
            pages.emplace(TRY(MemoryFile::on(*memory)));
        Extractor extractor(pages ? &*pages : nullptr, state ? &*state : nullptr);
        TRY(readContents(input, extractor, wanted.reading));
        if (state && !extractor.stateSeen())
            return makeError(ErrorCode::Unsupported, tr("%s has no device state"), input.name.c_str());
        if (pages)
            TRY(pages->finish());
    }
    for (auto *output : {&xml, &state, &memory})
        if (*output)
            TRY((*output)->commit());
    return {};
}

} // namespace

Result<ExitCode> runExtract(const Command &command, int argc, char **argv)
{
    Wanted wanted;
    Options arguments(command);
    arguments.text("xml", 'x', wanted.xml, tr("Write the domain XML, or xl's configuration, to FILE"), "FILE");
    arguments.text("device-state", 'd', wanted.deviceState, tr("Write the device model's state to FILE"), "FILE");
    arguments.text("memory", 'm', wanted.memory, tr("Write the memory to FILE: sparse, page n at n times 4096"), "FILE");
    arguments.reading(wanted.reading.checkpointed, wanted.showProgress);
    const auto names = TRY(arguments.parse(argc, argv, 1, 1));
    if (!names)
        return ExitCode::Fine;
    TRY(checkWanted(wanted));

    const Input input = TRY(openInput(names->front()));
    Progress progress(tr("Extracting"), input.size, wanted.showProgress);
    wanted.reading.progress = [&](uint64_t offset) { progress.update(offset); };
    const auto outcome = extract(input, wanted);
    progress.clear();
    TRY(outcome);
    return ExitCode::Fine;
}

} // namespace godwit::tools
