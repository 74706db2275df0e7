// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/stream/streams.h"

#include "stream/aligned.h"
#include "stream/convert_reader.h"
#include "stream/hvm_context.h"
#include "stream/libxc_bodies.h"
#include "stream/libxc_writer.h"
#include "stream/verify.h"
#include "stream/xl_savefile.h"

#include <algorithm>
#include <cstring>
#include <sys/mman.h>
#include <tuple>
#include <unistd.h>

namespace godwit::tests {

using namespace base;
namespace libxc = stream::libxc;
namespace libxl = stream::libxl;

Result<size_t> MemorySource::readSome(std::span<const iovec> parts)
{
    const size_t count = std::min(parts[0].iov_len, data_.size());
    if (count > 0)
        std::memcpy(parts[0].iov_base, data_.data(), count);
    data_ = data_.subspan(count);
    return count;
}

Result<size_t> MemorySink::writeSome(std::span<const iovec> parts)
{
    const auto *begin = static_cast<const std::byte *>(parts[0].iov_base);
    data.insert(data.end(), begin, begin + parts[0].iov_len);
    return parts[0].iov_len;
}

Result<void> RecordingHandler::begin(uint32_t streamVersion, const libxc::DomainHeader &domainHeader)
{
    version = streamVersion;
    header = domainHeader;
    return {};
}

Result<void> RecordingHandler::pages(std::span<const libxc::PageWord> words, stream::Source &source)
{
    for (const libxc::PageWord &word : words) {
        if (word.pfn.value >= memory.size())
            return makeError(ErrorCode::BadFormat, "no such page");
        TRY(source.read(memory[word.pfn.value]));
        pagesRead++;
    }
    return {};
}

Result<void> RecordingHandler::pageWithoutData(libxc::PageWord word)
{
    without.push_back(word);
    return {};
}

Result<void> RecordingHandler::record(libxc::RecordType type, std::span<const std::byte>)
{
    records.push_back(type);
    return {};
}

Bytes bytesOf(std::string_view text)
{
    const auto raw = std::as_bytes(std::span(text));
    return {raw.begin(), raw.end()};
}

UniqueFd fileWith(std::span<const std::byte> content)
{
    UniqueFd fd(::memfd_create("stream", MFD_CLOEXEC));
    stream::FdSink sink(fd.get());
    if (!sink.write(content) || ::lseek(fd.get(), 0, SEEK_SET) != 0)
        fd.reset();
    return fd;
}

Bytes record(uint32_t type, std::span<const std::byte> body)
{
    Writer out;
    out.u32(type);
    out.u32(static_cast<uint32_t>(body.size()));
    out.bytes(body);
    out.zeros(stream::recordPadding(body.size()));
    return out.take();
}

Bytes record(libxc::RecordType type, std::span<const std::byte> body)
{
    return record(static_cast<uint32_t>(type), body);
}

Bytes record(libxl::RecordType type, std::span<const std::byte> body)
{
    return record(static_cast<uint32_t>(type), body);
}

Bytes concat(std::initializer_list<Bytes> parts)
{
    Bytes out;
    for (const Bytes &part : parts)
        out.insert(out.end(), part.begin(), part.end());
    return out;
}

Bytes pageData(const std::vector<libxc::PageWord> &words)
{
    Writer out;
    out.u32(static_cast<uint32_t>(words.size()));
    out.u32(0);
    for (const auto &word : words)
        out.u64(libxc::encodePageWord(word));
    for (const auto &word : words)
        if (libxc::hasData(word.type))
            out.bytes(Bytes(pageSize, static_cast<std::byte>(word.pfn.value)));
    return out.take();
}

Bytes libxcHeaders(uint32_t version, libxc::DomainType type)
{
    Bytes image = libxc::encodeImageHeader();
    image[15] = static_cast<std::byte>(version);
    return concat({image, libxc::encodeDomainHeader({type, 4, 17})});
}

Bytes libxcStream(const Bytes &records)
{
    return concat({libxcHeaders(), record(libxc::RecordType::StaticDataEnd), records, record(libxc::RecordType::End)});
}

Bytes goodLibxcStream()
{
    const libxc::HvmParam param{1, 5};
    return libxcStream(concat({
        record(libxc::RecordType::PageData, pageData({{Pfn{2}}, {Pfn{3}}, {Pfn{9}, libxc::PageType::Absent}, {Pfn{5}}})),
        record(libxc::RecordType::X86TscInfo, libxc::encodeTscInfo({})),
        record(libxc::RecordType::HvmContext, libxc::encodeEmptyHvmContext()),
        record(libxc::RecordType::HvmParams, libxc::encodeHvmParams(std::span(&param, 1))),
    }));
}

Bytes goodLibxlStream()
{
    return concat({
        libxl::encodeHeader({}),
        record(libxl::RecordType::LibxcContext),
        goodLibxcStream(),
        record(libxl::RecordType::EmulatorXenstoreData, concat({libxl::encodeEmulatorHeader({}), bytesOf({"key\0value\0", 10})})),
        record(libxl::RecordType::EmulatorContext, concat({libxl::encodeEmulatorHeader({}), bytesOf("QEVM state")})),
        record(libxl::RecordType::End),
    });
}

Bytes goodSavefile()
{
    return stream::encodeSavefile("<domain type='qemu'/>",
                                  {stream::SavefileLayout::Plain, stream::SavedState::Running}).value();
}

Bytes goodAlignedSavefile()
{
    return stream::encodeSavefile("<domain type='qemu'/>",
                                  {stream::SavefileLayout::Aligned, stream::SavedState::Running}, 4096).value();
}

Bytes alignedImage(const stream::AlignedIndex &claimed, const std::function<void(uint64_t, std::vector<uint64_t> &)> &change,
                   const Bytes &behindTheFirst)
{
    const std::vector<stream::PageRun> memory{{Pfn{0}, 12}, {Pfn{100}, 10}};
    const auto layout = stream::AlignedLayout::make(alignedIndex, memory).value();
    MemorySink sink;
    std::ignore = layout.writeStreamHead(sink, {libxc::DomainType::X86Hvm, 4, 17});
    for (uint64_t number = 0; number < layout.batches(); number++) {
        const stream::Batch batch = layout.batch(number);
        Bytes head = layout.encodeHead(batch);
        constexpr size_t wordsAt = 16;
        std::vector<uint64_t> words((head.size() - wordsAt) / sizeof(uint64_t));
        std::memcpy(words.data(), &head[wordsAt], words.size() * sizeof(uint64_t));
        if (change)
            change(number, words);
        std::memcpy(&head[wordsAt], words.data(), words.size() * sizeof(uint64_t));
        head.resize(head.size() + batch.pages * pageSize, static_cast<std::byte>(number + 1));
        std::ignore = sink.write(head);
        std::ignore = sink.write(number == 0 ? behindTheFirst : Bytes());
    }
    std::ignore = libxc::writeHvmTail(sink, {}, libxc::encodeEmptyHvmContext(), {});
    std::ignore = libxl::writeTail(sink, 10, [](stream::Sink &out) { return out.write(bytesOf("QEVM state")); });
    const auto head = stream::encodeSavefile("<domain type='qemu'/>",
                                             {stream::SavefileLayout::Aligned, stream::SavedState::Running, claimed}, pageSize);
    return concat({head.value(), sink.data});
}

static libxl::DeviceStateHandler keepIn(std::optional<KeptState> &state)
{
    return [&state](const libxl::EmulatorHeader &header, std::optional<uint32_t> length, stream::Source &source) -> Result<void> {
        state = KeptState{header, {}};
        if (length)
            return source.append(state->data, *length);
        TRY(source.appendUpTo(state->data, libxl::maxDeviceState + 1));
        return {};
    };
}

Result<std::optional<KeptState>> readLibxl(stream::Source &source, libxc::Handler &handler)
{
    std::optional<KeptState> state;
    TRY(libxl::readStream(source, handler, keepIn(state)));
    return state;
}

Result<std::optional<KeptState>> readLegacy(stream::Source &source, libxc::Handler &handler)
{
    std::optional<KeptState> state;
    TRY(stream::readLegacyStream(source, handler, keepIn(state)));
    return state;
}

template <typename T>
static bool explains(const Result<T> &result)
{
    return result || !result.error().message.empty();
}

bool checkLibxcReader(std::span<const std::byte> data)
{
    MemorySource source(data);
    RecordingHandler handler;
    return explains(libxc::readStream(source, handler)) && source.offset() <= data.size();
}

bool checkLibxlReader(std::span<const std::byte> data)
{
    MemorySource source(data);
    RecordingHandler handler;
    return explains(readLibxl(source, handler)) && source.offset() <= data.size();
}

bool checkSavefileReader(std::span<const std::byte> data)
{
    const auto bodyOf = [&](size_t headerSize, uint32_t length) {
        const auto rest = data.subspan(headerSize);
        return rest.first(std::min<size_t>(rest.size(), length));
    };
    const auto xl = stream::decodeXlSavefileHeader(data);
    if (!explains(xl) || (xl && !explains(stream::decodeXlSavefileData(*xl, bodyOf(stream::xlSavefileHeaderSize, xl->dataLength)))))
        return false;
    const auto header = stream::decodeSavefileHeader(data);
    return explains(header) &&
           (!header || explains(stream::decodeSavefileXml(*header, bodyOf(stream::savefileHeaderSize, header->xmlLength))));
}

/// Errors of a reader that are no errors of the stream.
static bool isOnlyRefused(const std::string &message)
{
    // No checkpoints, and one emulator: the readers are for machine guests.
    return message.find("checkpointed streams") != message.npos || message.find("comes a second time") != message.npos;
}

bool checkPagesReader(std::span<const std::byte> data)
{
    MemorySource source(data);
    SkippingHandler handler;
    return explains(libxc::readPages(source, handler)) && source.offset() <= data.size();
}

bool checkBodies(std::span<const std::byte> data)
{
    using libxc::PvInfo;
    using Type = libxc::RecordType;
    bool good = explains(libxc::decodePvInfo(data)) && explains(libxc::decodeVcpuMsrs(data)) &&
                explains(libxc::decodeSharedInfo(data)) && explains(libxc::decodeCpuidPolicy(data)) &&
                explains(libxc::decodeMsrPolicy(data)) && explains(libxc::decodeDirtyPfns(data)) &&
                explains(libxc::decodeTscInfo(data)) && explains(libxc::decodeHvmParams(data)) &&
                explains(stream::hvm::decodeContext(data)) && explains(libxl::decodeEmulatorHeader(data)) &&
                explains(libxl::decodeXenstorePairs(data)) && explains(libxl::decodeCheckpointState(data));
    for (const PvInfo &guest : {PvInfo{4, 3}, PvInfo{8, 4}}) {
        good = good && explains(libxc::decodeP2mFrames(data, guest));
        for (const Type type : {Type::X86PvVcpuBasic, Type::X86PvVcpuExtended, Type::X86PvVcpuXsave, Type::X86PvVcpuMsrs})
            good = good && explains(libxc::decodeVcpuContext(type, data, guest));
    }
    return good;
}

/// Bounded findings, each in the input, that explain.
static bool isSound(const stream::Report &report, size_t most, size_t size)
{
    return report.findings.size() == std::min<uint64_t>(most, report.errors + report.warnings) &&
           std::ranges::all_of(report.findings, [&](const stream::Finding &finding) {
               return !finding.place.empty() && !finding.message.empty() && finding.offset <= size;
           });
}

bool checkVerifier(std::span<const std::byte> data)
{
    constexpr size_t most = 10;
    MemorySource source(data);
    const auto report = stream::verifyStream(source, {.maxFindings = most});
    if (!report || source.offset() > data.size() || !isSound(*report, most, data.size()))
        return false;
    if (!report->isValid())
        return true;
    // The readers know nothing of the verifier.
    MemorySource again(data);
    SkippingHandler handler;
    const bool isLibxl = asText(data).starts_with("LibxlFmt");
    const auto read = isLibxl ? Result<void>() : libxc::readStream(again, handler);
    const auto state = isLibxl ? readLibxl(again, handler) : std::optional<KeptState>();
    return report->complete && (read || isOnlyRefused(read.error().message)) &&
           (state || isOnlyRefused(state.error().message));
}

/// Places are in the order of the pages, and inside the image.
static bool checkIndex(const stream::AlignedIndex &index, std::span<const std::byte> numbers)
{
    std::vector<stream::PageRun> memory;
    for (; numbers.size() >= 8 && memory.size() < 4; numbers = numbers.subspan(8)) {
        Reader in(numbers);
        const uint64_t gap = in.u32().value(), pages = in.u32().value();
        memory.push_back({Pfn{memory.empty() ? gap : memory.back().first.value + memory.back().pages + gap}, pages});
    }
    const auto layout = stream::AlignedLayout::make(index, memory);
    if (!layout)
        return explains(layout);
    for (const uint64_t number : {uint64_t{0}, layout->batches() / 2, layout->batches() - 1}) {
        const stream::Batch batch = layout->batch(number);
        if (batch.pages == 0 || batch.pages > index.batchPages || batch.dataOffset + batch.pages * pageSize > layout->end() ||
            layout->batchOf(batch.first) != number || layout->pageOffset(batch.first) != batch.dataOffset ||
            layout->encodeHead(batch).size() != index.headSize)
            return false;
    }
    return true;
}

bool checkImage(std::span<const std::byte> data)
{
    constexpr size_t most = 10;
    const UniqueFd file = fileWith(data);
    const auto report = stream::verifyImage(file.get(), {.maxFindings = most});
    if (!report || !isSound(*report, most, data.size()) || ::lseek(file.get(), 0, SEEK_SET) != 0)
        return false;
    const auto head = stream::readSavefile(file.get());
    if (!head)
        return explains(head);
    const auto &extension = head->header.extension;
    return !extension || extension->layout != stream::SavefileLayout::Aligned ||
           checkIndex(extension->index, std::as_bytes(std::span(head->xml)));
}

} // namespace godwit::tests
