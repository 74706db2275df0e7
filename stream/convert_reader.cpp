// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stream/convert_reader.h"

#include "base/i18n.h"
#include "stream/convert_records.h"

#include <algorithm>
#include <array>

namespace godwit::stream {

using namespace base;

namespace {

/// A state that goes on to the stream's end, as its reader must see it: QEMU's, and not too long.
class EndlessState final : public Source
{
public:
    explicit EndlessState(Source &source) : source_(source) {}

    /// Whether there was enough to know.
    Result<void> finish() const { return checkQemuState(std::span(begin_).first(std::min<uint64_t>(offset(), begin_.size()))); }

protected:
    Result<size_t> readSome(std::span<const iovec> parts) override
    {
        const auto into = std::span(static_cast<std::byte *>(parts[0].iov_base), parts[0].iov_len);
        const size_t count = TRY(source_.readUpTo(into));
        for (size_t i = 0; i < count && offset() + i < begin_.size(); i++)
            begin_[offset() + i] = into[i];
        if (offset() < begin_.size() && offset() + count >= begin_.size())
            TRY(checkQemuState(begin_));
        if (offset() + count > libxl::maxDeviceState)
            return makeError(ErrorCode::BadFormat, tr("has a state of more than %u bytes"), libxl::maxDeviceState);
        return count;
    }

private:
    Source &source_;
    std::array<std::byte, 4> begin_{};
};

class Adapter : public legacy::Handler
{
public:
    Adapter(libxc::Handler &handler, const libxl::DeviceStateHandler &deviceState) : handler_(handler), deviceState_(deviceState) {}

    Result<void> begin(const legacy::Head &head) override
    {
        pages_ = head.p2mSize;
        TRY(handler_.begin(libxc::currentVersion, {head.guest, convertedMajor, convertedMinor}));
        if (head.pv)
            TRY(handler_.record(libxc::RecordType::X86PvInfo, encodePvInfo(*head.pv)));
        return handler_.record(libxc::RecordType::StaticDataEnd, {});
    }

    Result<void> p2mFrames(std::span<const uint64_t> frames) override
    {
        auto body = encodeP2mRange(pages_);
        const auto raw = std::as_bytes(frames);
        body.insert(body.end(), raw.begin(), raw.end());
        return handler_.record(libxc::RecordType::X86PvP2mFrames, body);
    }

    Result<void> pages(std::span<const libxc::PageWord> words, Source &source) override
    {
        withData_.clear();
        for (const libxc::PageWord &word : words) {
            if (hasData(word.type))
                withData_.push_back(word);
            else
                TRY(handler_.pageWithoutData(word));
        }
        return handler_.pages(withData_, source);
    }

    Result<void> tscInfo(const libxc::TscInfo &tsc) override
    {
        return handler_.record(libxc::RecordType::X86TscInfo, encodeTscInfo(tsc));
    }

    /// What Xen's QEMU keeps in xenstore: as in libxl::readStream(), nobody asks for it.
    Result<void> toolstack(std::span<const legacy::Physmap>) override { return {}; }

    Result<void> hvmParams(std::span<const libxc::HvmParam> params) override
    {
        return handler_.record(libxc::RecordType::HvmParams, encodeHvmParams(params));
    }

    Result<void> blob(legacy::Blob kind, uint32_t vcpu, uint32_t length, Source &source) override
    {
        auto body = encodeBlobHead(kind, vcpu);
        TRY(source.append(body, length));
        return handler_.record(recordOf(kind), body);
    }

    Result<void> guestComplete(bool last) override
    {
        return handler_.record(last ? libxc::RecordType::End : libxc::RecordType::Checkpoint, {});
    }

    Result<void> deviceModel(const legacy::DeviceModelInfo &, std::optional<uint32_t> length, Source &source) override
    {
        constexpr libxl::EmulatorHeader unknown{libxl::Emulator::Unknown, 0};
        if (length)
            return deviceState_(unknown, length, source);
        EndlessState state(source);
        TRY(deviceState_(unknown, std::nullopt, state));
        return state.finish();
    }

    Result<void> end(bool) override { return {}; }

private:
    libxc::Handler &handler_;
    const libxl::DeviceStateHandler &deviceState_;
    uint64_t pages_ = 0;
    std::vector<libxc::PageWord> withData_;   // kept from batch to batch for its memory
};

} // namespace

Result<void> readLegacyStream(Source &source, libxc::Handler &handler, const libxl::DeviceStateHandler &deviceState,
                              const legacy::ReadOptions &options)
{
    if (options.checkpointed)
        return makeError(ErrorCode::Unsupported, tr("checkpointed streams cannot be restored"));
    Adapter adapter(handler, deviceState);
    return legacy::readStream(source, adapter, options);
}

} // namespace godwit::stream
