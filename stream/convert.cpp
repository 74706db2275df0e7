// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stream/convert.h"

#include "base/bytes.h"
#include "base/i18n.h"
#include "stream/convert_copy.h"
#include "stream/convert_records.h"
#include "stream/legacy_compression.h"
#include "stream/libxl_format.h"
#include "stream/temporary_file.h"

#include <array>
#include <cerrno>
#include <unistd.h>

namespace godwit::stream {

using namespace base;

namespace {

constexpr libxl::EmulatorHeader unknownEmulator{libxl::Emulator::Unknown, 0};

class Converter : public legacy::Handler
{
public:
    Converter(Source &source, Sink &sink, const ConvertOptions &options)
        : source_(source), sink_(sink), options_(options), copier_(source, sink)
    {
    }

    Result<void> begin(const legacy::Head &head) override
    {
        if (!options_.bareLibxc) {
            TRY(sink_.write(libxl::encodeHeader({.legacy = true})));
            TRY(write(libxl::RecordType::LibxcContext));
        }
        TRY(sink_.write(libxc::encodeImageHeader()));
        TRY(sink_.write(libxc::encodeDomainHeader({head.guest, convertedMajor, convertedMinor})));
        if (head.pv)
            TRY(write(libxc::RecordType::X86PvInfo, encodePvInfo(*head.pv)));
        pages_ = head.p2mSize;
        return write(libxc::RecordType::StaticDataEnd);
    }

    Result<void> p2mFrames(std::span<const uint64_t> frames) override
    {
        const auto range = encodeP2mRange(pages_);
        const std::array<std::span<const std::byte>, 2> body{range, std::as_bytes(frames)};
        return writeRecord(sink_, static_cast<uint32_t>(libxc::RecordType::X86PvP2mFrames), body);
    }

    Result<void> pages(std::span<const libxc::PageWord> words, Source &source) override
    {
        uint64_t dataLength = 0;
        Writer record;
        record.u32(static_cast<uint32_t>(libxc::RecordType::PageData));
        for (const libxc::PageWord &word : words)
            dataLength += hasData(word.type) ? pageSize : 0;
        record.u32(static_cast<uint32_t>(8 + words.size() * sizeof(uint64_t) + dataLength));
        record.u32(static_cast<uint32_t>(words.size()));
        record.zeros(4);
        for (const libxc::PageWord &word : words)
            record.u64(encodePageWord(word));
        TRY(sink_.write(record.data()));
        TRY(copier_.copy(source, dataLength));
        if (options_.progress)
            options_.progress(source_.offset(), sink_.offset());
        return {};
    }

    Result<void> tscInfo(const libxc::TscInfo &tsc) override
    {
        return write(libxc::RecordType::X86TscInfo, encodeTscInfo(tsc));
    }

    Result<void> toolstack(std::span<const legacy::Physmap> physmaps) override
    {
        if (options_.bareLibxc)
            return {};
        xenstoreData_ = legacy::encodeXenstoreData(physmaps);
        if (xenstoreData_.size() > libxl::maxXenstoreData - libxl::emulatorHeaderSize)
            return makeError(ErrorCode::BadFormat, tr("becomes too long: %zu bytes"), xenstoreData_.size());
        return {};
    }

    Result<void> hvmParams(std::span<const libxc::HvmParam> params) override
    {
        return write(libxc::RecordType::HvmParams, encodeHvmParams(params));
    }

    Result<void> blob(legacy::Blob kind, uint32_t vcpu, uint32_t length, Source &source) override
    {
        return copyRecord(static_cast<uint32_t>(recordOf(kind)), encodeBlobHead(kind, vcpu), source, length);
    }

    Result<void> guestComplete(bool last) override
    {
        TRY(write(last ? libxc::RecordType::End : libxc::RecordType::Checkpoint));
        if (!options_.bareLibxc && !xenstoreData_.empty()) {
            const auto head = encodeEmulatorHeader(unknownEmulator);
            const std::array<std::span<const std::byte>, 2> body{head, xenstoreData_};
            TRY(writeRecord(sink_, static_cast<uint32_t>(libxl::RecordType::EmulatorXenstoreData), body));
        }
        xenstoreData_.clear();
        return {};
    }

    Result<void> deviceModel(const legacy::DeviceModelInfo &info, std::optional<uint32_t> length,
                             Source &source) override
    {
        if (options_.bareLibxc)
            return passDeviceModel(info, length, source);
        const auto head = encodeEmulatorHeader(unknownEmulator);
        const auto type = static_cast<uint32_t>(libxl::RecordType::EmulatorContext);
        if (length)
            return copyRecord(type, head, source, *length);
        const UniqueFd file = TRY(openTemporaryFile(options_.read.temporaryFolder));
        FdSink spool(file.get());
        const uint32_t spooled = TRY(copyToEnd(source, spool));
        if (::lseek(file.get(), 0, SEEK_SET) < 0)
            return systemError(errno, tr("cannot read the temporary file"));
        FdSource state(file.get());
        return copyRecord(type, head, state, spooled);
    }

    Result<void> end(bool last) override
    {
        if (options_.bareLibxc)
            return {};
        return write(last ? libxl::RecordType::End : libxl::RecordType::CheckpointEnd);
    }

private:
    template <typename Type>
    Result<void> write(Type type, std::span<const std::byte> body = {})
    {
        return writeRecord(sink_, static_cast<uint32_t>(type), body);
    }

    /// A record whose body is `head` and the next `length` bytes of `source`.
    Result<void> copyRecord(uint32_t type, std::span<const std::byte> head, Source &source, uint32_t length)
    {
        return writeRecord(sink_, type, head, length, [&] { return copier_.copy(source, length); });
    }

    Result<void> passDeviceModel(const legacy::DeviceModelInfo &info, std::optional<uint32_t> length, Source &source)
    {
        TRY(sink_.write(std::as_bytes(std::span(info.signature))));
        if (!length) {
            TRY(copyToEnd(source, sink_));
            return {};
        }
        TRY(sink_.write(std::as_bytes(std::span(&*length, 1))));
        return copier_.copy(source, *length);
    }

    /// A state without a length, up to the source's end; returns its length.
    static Result<uint32_t> copyToEnd(Source &source, Sink &sink)
    {
        std::vector<std::byte> buffer(64 * 1024);
        uint64_t length = 0;
        for (bool more = true; more;) {
            const size_t count = TRY(source.readUpTo(buffer));
            if (length == 0)
                TRY(checkQemuState(std::span(buffer).first(count)));
            length += count;
            if (length > libxl::maxDeviceState)
                return makeError(ErrorCode::BadFormat, tr("has a state of more than %u bytes"), libxl::maxDeviceState);
            TRY(sink.write(std::span(buffer).first(count)));
            more = count == buffer.size();
        }
        return static_cast<uint32_t>(length);
    }

    Source &source_;
    Sink &sink_;
    const ConvertOptions &options_;
    Copier copier_;
    uint64_t pages_ = 0;
    std::vector<std::byte> xenstoreData_;   // of the current image
};

} // namespace

Result<void> convert(Source &source, Sink &sink, const ConvertOptions &options)
{
    Converter converter(source, sink, options);
    return legacy::readStream(source, converter, options.read);
}

Result<void> convert(int source, int sink, const ConvertOptions &options)
{
    DirectSource in(source);
    DirectSink out(sink);
    return convert(in, out, options);
}

} // namespace godwit::stream
