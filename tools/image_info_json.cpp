// SPDX-License-Identifier: LGPL-2.1-or-later
// What `info` knows, for programs: godwit-stream(1) has the members, which do not change.
#include "tools/image_info.h"

#include <json-glib/json-glib.h>
#include <memory>

namespace godwit::tools {

using namespace stream;

namespace {

class Json
{
public:
    Json() { open(); }

    /// A member that is an object, up to close().
    void open(const char *name) { member(name); open(); }
    void open() { json_builder_begin_object(builder_.get()); }
    void close() { json_builder_end_object(builder_.get()); }
    void text(const char *name, const std::string &value)
    {
        member(name);
        json_builder_add_string_value(builder_.get(), value.c_str());
    }
    void number(const char *name, uint64_t value)
    {
        member(name);
        json_builder_add_int_value(builder_.get(), static_cast<int64_t>(value));
    }
    void truth(const char *name, bool value)
    {
        member(name);
        json_builder_add_boolean_value(builder_.get(), value);
    }

    std::string take()
    {
        close();
        const std::unique_ptr<JsonNode, decltype(&json_node_unref)> root(json_builder_get_root(builder_.get()), json_node_unref);
        const std::unique_ptr<char, decltype(&g_free)> out(json_to_string(root.get(), TRUE), g_free);
        return std::string(out.get()) + "\n";
    }

private:
    void member(const char *name) { json_builder_set_member_name(builder_.get(), name); }

    std::unique_ptr<JsonBuilder, decltype(&g_object_unref)> builder_{json_builder_new(), g_object_unref};
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
    if (info.domainName.empty() && info.domainUuid.empty())
        return;
    json.open("domain");
    json.text("name", info.domainName);
    json.text("uuid", info.domainUuid);
    if (!info.domainType.empty())
        json.text("type", info.domainType);
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
