// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stream/libxl_stream.h"

#include "base/i18n.h"
#include "base/strprintf.h"

namespace godwit::stream::libxl {

using namespace base;

namespace {

class StreamReader
{
public:
    StreamReader(Source &source, libxc::Handler &handler, const DeviceStateHandler &deviceState)
        : source_(source), handler_(handler), deviceState_(deviceState)
    {
    }

    Result<void> run()
    {
        std::array<std::byte, headerSize> raw;
        TRY_IN(tr("libxl header"), source_.read(raw));
        TRY_IN(tr("libxl header"), decodeHeader(raw));
        for (;;) {
            const uint64_t at = source_.offset();
            const RecordHeader header = TRY_IN(tr("libxl record"), readRecordHeader(source_));
            const RecordInfo *info = findRecord(header.type);
            const auto offset = static_cast<unsigned long long>(at);
            // libxl knows no optional records.
            if (!info)
                return makeError(ErrorCode::Unsupported, tr("libxl record 0x%x at byte %llu is unknown"),
                                 header.type, offset);
            TRY_IN(strprintf(tr("%s at byte %llu"), info->name, offset), handle(*info, header.length));
            if (info->type == RecordType::End)
                return {};
        }
    }

private:
    Result<void> handle(const RecordInfo &info, uint32_t length)
    {
        if (length < info.minLength || length > info.maxLength)
            return makeError(ErrorCode::BadFormat, tr("has the wrong length %u"), length);
        if (info.type != RecordType::LibxcContext && !memoryRead_)
            return makeError(ErrorCode::BadFormat, tr("comes before LIBXC_CONTEXT"));
        switch (info.type) {
        case RecordType::End:
            return {};
        case RecordType::LibxcContext:
            if (memoryRead_)
                return makeError(ErrorCode::BadFormat, tr("comes a second time"));
            memoryRead_ = true;
            return libxc::readStream(source_, handler_);
        case RecordType::EmulatorXenstoreData:
            // What Xen's QEMU keeps in xenstore; a machine guest's QEMU has it in its state.
            return skipRecordBody(source_, length);
        case RecordType::EmulatorContext:
            return readDeviceState(length);
        case RecordType::CheckpointEnd:
        case RecordType::CheckpointState:
            break;
        }
        return makeError(ErrorCode::Unsupported, tr("checkpointed streams cannot be restored"));
    }

    Result<void> readDeviceState(uint32_t length)
    {
        if (stateRead_)
            return makeError(ErrorCode::BadFormat, tr("comes a second time"));
        stateRead_ = true;
        std::array<std::byte, emulatorHeaderSize> raw;
        TRY(source_.read(raw));
        const EmulatorHeader header = TRY(decodeEmulatorHeader(raw));
        const uint32_t left = length - static_cast<uint32_t>(raw.size());
        const uint64_t end = source_.offset() + left;
        TRY(deviceState_(header, left, source_));
        if (source_.offset() != end)
            return makeError(ErrorCode::Internal, "the device state was not read exactly");
        return readRecordPadding(source_, length);
    }

    Source &source_;
    libxc::Handler &handler_;
    const DeviceStateHandler &deviceState_;
    bool memoryRead_ = false, stateRead_ = false;
};

} // namespace

Result<void> readStream(Source &source, libxc::Handler &handler, const DeviceStateHandler &deviceState)
{
    return StreamReader(source, handler, deviceState).run();
}

Result<void> writeHead(Sink &sink)
{
    TRY(sink.write(encodeHeader(Header{})));
    return writeRecord(sink, static_cast<uint32_t>(RecordType::LibxcContext));
}

Result<void> writeTail(Sink &sink, uint64_t length, const std::function<Result<void>(Sink &)> &writeState)
{
    if (length > maxDeviceState)
        return makeError(ErrorCode::Unsupported, tr("the device state is too long: %llu bytes"),
                         static_cast<unsigned long long>(length));
    const auto header = encodeEmulatorHeader(EmulatorHeader{});
    TRY(writeRecord(sink, static_cast<uint32_t>(RecordType::EmulatorContext), header, static_cast<uint32_t>(length),
                    [&] { return writeState(sink); }));
    return writeRecord(sink, static_cast<uint32_t>(RecordType::End));
}

} // namespace godwit::stream::libxl
