// SPDX-License-Identifier: LGPL-2.1-or-later
// What `info` knows, for programs: godwit-stream(1) has the members, which do not change.
#include "tools/image_info.h"

#include <nlohmann/json.hpp>
#include <vector>

namespace godwit::tools {

using namespace stream;

namespace {

class Json
{
public:
    /// A member that is an object, up to close().
    void open(const char *name) { open_.push_back(&(member(name) = Value::object())); }
    void close() { open_.pop_back(); }
    void text(const char *name, const std::string &value) { member(name) = value; }
    void number(const char *name, uint64_t value) { member(name) = value; }
    void truth(const char *name, bool value) { member(name) = value; }

    std::string take() const { return whole_.dump(2, ' ', false, Value::error_handler_t::replace) + "\n"; }

private:
    using Value = nlohmann::ordered_json;

    Value &member(const char *name) { return (*open_.back())[name]; }

    Value whole_ = Value::object();
    std::vector<Value *> open_{&whole_};   // only the last one gets members, so that none moves
};

void addIndex(Json &json, const AlignedIndex &index)
{
    json.open("index");
    json.number("first_batch", index.firstBatch);
    json.number("head_size", index.headSize);
    json.number("batch_pages", index.batchPages);
    json.close();
}

void addHeader(Json &json, const Input &input)
{
    json.text("container", input.savefile ? "libvirt" : input.xl ? "xl" : "none");
    if (!input.savefile && !input.xl)
        return;
    json.open("header");
    if (input.xl) {
        json.number("mandatory_flags", input.xl->mandatoryFlags);
        json.number("configuration_length", input.config ? input.config->size() : 0);
    } else {
        const SavefileHeader &header = *input.savefile;
        json.number("version", static_cast<uint32_t>(header.version));
        json.text("byte_order", header.order == base::ByteOrder::little ? "little" : "big");
        json.number("xml_length", input.config->size());
        if (header.extension) {
            json.text("layout", header.extension->layout == SavefileLayout::Aligned ? "aligned" : "plain");
            const SavedState state = header.extension->state;
            json.text("state", state == SavedState::Running ? "running" : state == SavedState::Paused ? "paused" : "unknown");
            if (header.extension->layout == SavefileLayout::Aligned)
                addIndex(json, header.extension->index);
        }
    }
    json.number("stream_offset", input.streamOffset);
    json.close();
}

void addDomain(Json &json, const ImageInfo &info)
{
    if (info.domain.name.empty() && info.domain.uuid.empty())
        return;
    json.open("domain");
    json.text("name", info.domain.name);
    json.text("uuid", info.domain.uuid);
    if (!info.domain.type.empty())
        json.text("type", info.domain.type);
    json.close();
}

void addStream(Json &json, const ImageInfo &info)
{
    const StreamHead &head = info.stream;
    json.open("stream");
    json.text("format", head.legacy ? "legacy" : head.libxl ? "libxl" : "libxc");
    json.number("version", head.version);
    if (head.legacy)
        json.number("toolstack_bits", bytesOf(head.legacy->width) * 8);
    json.truth("converted", !head.legacy && head.domain.xenMajor == 0);
    json.number("xen_major", head.domain.xenMajor);
    json.number("xen_minor", head.domain.xenMinor);
    json.number("end_offset", info.end);
    json.number("trailing_bytes", info.trailing);
    json.close();
}

void addMemory(Json &json, const ImageInfo &info)
{
    json.open("memory");
    json.number("pages", info.distinctPages);
    json.number("bytes", info.distinctPages * base::pageSize);
    json.number("end_pfn", info.endOfMemory);
    json.number("sent", info.pagesSent);
    json.number("with_data", info.pagesWithData);
    if (info.zerosCounted)
        json.number("zero", info.zeroPages);
    json.open("types");
    for (size_t type = 0; type < info.pagesByType.size(); type++)
        if (info.pagesByType[type] > 0)
            json.number(ImageInfo::nameOf(static_cast<libxc::PageType>(type)), info.pagesByType[type]);
    json.close();
    json.close();
}

} // namespace

std::string formatInfoJson(const Input &input, const ImageInfo &info)
{
    Json json;
    addHeader(json, input);
    addDomain(json, info);
    addStream(json, info);
    json.open("guest");
    json.text("type", info.stream.domain.type == libxc::DomainType::X86Hvm ? "hvm" : "pv");
    if (info.processors > 0)
        json.number("processors", info.processors);
    json.close();
    addMemory(json, info);
    json.open("records");
    for (const auto &[name, count] : info.parts)
        json.number(name.c_str(), count);
    json.close();
    if (info.deviceModel) {
        json.open("device_model");
        json.text("emulator", emulatorName(info.deviceModel->header));
        json.number("index", info.deviceModel->header.index);
        json.number("length", info.deviceModel->length);
        json.close();
    }
    json.number("checkpoints", info.checkpoints);
    return json.take();
}

} // namespace godwit::tools
