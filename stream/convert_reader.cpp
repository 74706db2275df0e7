// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stream/convert_reader.h"

#include "base/i18n.h"
#include "stream/convert_records.h"

#include <algorithm>

namespace godwit::stream {

using namespace base;

namespace {

class Adapter : public legacy::Handler
{
public:
    explicit Adapter(libxc::Handler &handler) : handler_(handler) {}

    std::optional<libxl::DeviceState> takeState() { return std::move(state_); }

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
        libxl::DeviceState &state = state_.emplace();
        state.header = {libxl::Emulator::Unknown, 0};
        if (length)
            return source.append(state.data, *length);
        for (bool more = true; more;) {
            const size_t had = state.data.size();
            if (had > libxl::maxDeviceState)
                return makeError(ErrorCode::BadFormat, tr("has a state of more than %u bytes"), libxl::maxDeviceState);
            state.data.resize(had + step);
            const size_t count = TRY(source.readUpTo(std::span(state.data).subspan(had)));
            state.data.resize(had + count);
            more = count == step;
        }
        return checkQemuState(state.data);
    }

    Result<void> end(bool) override { return {}; }

private:
    static constexpr size_t step = 256 * 1024;   // memory grows as bytes come

    libxc::Handler &handler_;
    uint64_t pages_ = 0;
    std::vector<libxc::PageWord> withData_;   // kept from batch to batch for its memory
    std::optional<libxl::DeviceState> state_;
};

} // namespace

Result<std::optional<libxl::DeviceState>> readLegacyStream(Source &source, libxc::Handler &handler,
                                                           const legacy::ReadOptions &options)
{
    if (options.checkpointed)
        return makeError(ErrorCode::Unsupported, tr("checkpointed streams cannot be restored"));
    Adapter adapter(handler);
    TRY(legacy::readStream(source, adapter, options));
    return adapter.takeState();
}

} // namespace godwit::stream
