// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tools/domain_summary.h"

#include "base/i18n.h"

#include <algorithm>
#include <cstring>
#include <glib.h>
#include <memory>
#include <nlohmann/json.hpp>

namespace godwit::tools {

using namespace base;

// Of what a parser keeps until it is complete.
static constexpr size_t longest = 1024 * 1024;

// ---- domain XML ---------------------------------------------------------------------------------
namespace {

constexpr size_t deepest = 256;   // libxml2's limit, and so libvirt's
constexpr size_t step = 64 * 1024;

struct Reading {
    DomainSummary summary;
    size_t depth = 0;
    size_t quiet = 0;   ///< bytes since a text, a comment or a tag was complete
};

void fail(GError **error, const char *message)
{
    g_set_error(error, G_MARKUP_ERROR, G_MARKUP_ERROR_INVALID_CONTENT, "%s", message);
}

void onStart(GMarkupParseContext *, const char *element, const char **names, const char **values, void *data, GError **error)
{
    auto &reading = *static_cast<Reading *>(data);
    reading.quiet = 0;
    if (reading.depth++ == deepest)
        fail(error, tr("elements are nested too deeply"));
    if (reading.depth > 1)
        return;
    if (std::strcmp(element, "domain") != 0)
        g_set_error(error, G_MARKUP_ERROR, G_MARKUP_ERROR_INVALID_CONTENT, tr("the root element is <%s>, not <domain>"), element);
    for (size_t i = 0; names[i]; i++)
        if (std::strcmp(names[i], "type") == 0)
            reading.summary.type = values[i];
}

void onEnd(GMarkupParseContext *, const char *, void *data, GError **)
{
    auto &reading = *static_cast<Reading *>(data);
    reading.quiet = 0;
    reading.depth--;
}

void onText(GMarkupParseContext *context, const char *text, size_t length, void *data, GError **)
{
    auto &reading = *static_cast<Reading *>(data);
    reading.quiet = 0;
    if (reading.depth != 2)
        return;
    const std::string_view element = g_markup_parse_context_get_element(context);
    if (element == "name")
        reading.summary.name.append(text, length);
    else if (element == "uuid")
        reading.summary.uuid.append(text, length);
}

void onOther(GMarkupParseContext *, const char *, size_t, void *data, GError **)
{
    static_cast<Reading *>(data)->quiet = 0;
}

bool parse(GMarkupParseContext *context, std::string_view xml, Reading &reading, GError **error)
{
    for (; !xml.empty(); xml.remove_prefix(std::min(step, xml.size()))) {
        const auto piece = xml.substr(0, step);
        reading.quiet += piece.size();
        if (!g_markup_parse_context_parse(context, piece.data(), static_cast<gssize>(piece.size()), error))
            return false;
        if (reading.quiet > longest) {
            fail(error, tr("a text or an element's start is too long"));
            return false;
        }
    }
    return g_markup_parse_context_end_parse(context, error);
}

} // namespace

Result<DomainSummary> summariseXml(std::string_view xml)
{
    // GLib's parser looks only into some parts for this, and then goes on behind its own error.
    const char *end = nullptr;
    if (!g_utf8_validate(xml.data(), static_cast<gssize>(xml.size()), &end))
        return makeError(ErrorCode::BadFormat, tr("the domain XML is not well-formed: byte %zu is no UTF-8"),
                         static_cast<size_t>(end - xml.data()));
    Reading reading;
    const GMarkupParser parser{onStart, onEnd, onText, onOther, nullptr};
    const std::unique_ptr<GMarkupParseContext, decltype(&g_markup_parse_context_free)> context(
        g_markup_parse_context_new(&parser, G_MARKUP_TREAT_CDATA_AS_TEXT, &reading, nullptr), g_markup_parse_context_free);
    GError *error = nullptr;
    if (parse(context.get(), xml, reading, &error))
        return std::move(reading.summary);
    const Error failure = makeError(ErrorCode::BadFormat, tr("the domain XML is not well-formed: %s"), error->message);
    g_error_free(error);
    return failure;
}

// ---- xl's configuration -----------------------------------------------------------------------
namespace {

/// Takes c_info.name and c_info.uuid out of libxl's JSON, as it comes: nothing else is kept.
class ConfigReader final : public nlohmann::json_sax<nlohmann::json>
{
public:
    DomainSummary summary;

    bool null() override { return true; }
    bool boolean(bool) override { return true; }
    bool number_integer(number_integer_t) override { return true; }
    bool number_unsigned(number_unsigned_t) override { return true; }
    bool number_float(number_float_t, const string_t &) override { return true; }
    bool binary(binary_t &) override { return true; }
    bool string(string_t &value) override
    {
        if (depth_ == 2 && inInfo_ && key_ == "name")
            summary.name = value;
        else if (depth_ == 2 && inInfo_ && key_ == "uuid")
            summary.uuid = value;
        return true;
    }
    bool key(string_t &key) override
    {
        key_ = std::move(key);
        return true;
    }
    bool start_object(size_t) override
    {
        isObject_ = isObject_ || depth_ == 0;
        inInfo_ = inInfo_ || (isObject_ && depth_ == 1 && key_ == "c_info");
        depth_++;
        return true;
    }
    bool end_object() override
    {
        depth_--;
        inInfo_ = inInfo_ && depth_ > 1;
        return true;
    }
    bool start_array(size_t) override
    {
        depth_++;
        return true;
    }
    bool end_array() override
    {
        depth_--;
        return true;
    }
    bool parse_error(size_t, const std::string &, const nlohmann::detail::exception &) override { return false; }

private:
    size_t depth_ = 0;
    bool isObject_ = false, inInfo_ = false;   // the whole; what is being read is in c_info
    std::string key_;                          // the last one: of this member, where a text is one
};

} // namespace

Result<DomainSummary> summariseXlConfig(std::string_view json)
{
    ConfigReader reader;
    if (json.size() > longest)   // the parser keeps what it has of a word, a text, or brackets
        return makeError(ErrorCode::BadFormat, tr("the configuration is too long"));
    if (!nlohmann::json::sax_parse(json.begin(), json.end(), &reader))
        return makeError(ErrorCode::BadFormat, tr("the configuration is no JSON"));
    return std::move(reader.summary);
}

static std::string_view trim(std::string_view text)
{
    const size_t first = text.find_first_not_of(" \t\r");
    return first == text.npos ? "" : text.substr(first, text.find_last_not_of(" \t\r") + 1 - first);
}

/// The text between two quotation marks of a kind; "" of anything else.
static std::string_view unquote(std::string_view value)
{
    if (value.empty() || (value[0] != '"' && value[0] != '\''))
        return "";
    const size_t end = value.find(value[0], 1);
    return end == value.npos ? "" : value.substr(1, end - 1);
}

DomainSummary summariseXlText(std::string_view text)
{
    DomainSummary out;
    while (!text.empty()) {
        const std::string_view line = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(text.size(), line.size() + 1));
        const size_t equals = line.find('=');
        if (equals == line.npos)
            continue;
        const std::string_view key = trim(line.substr(0, equals)), value = unquote(trim(line.substr(equals + 1)));
        if (key == "name")
            out.name = value;
        else if (key == "uuid")
            out.uuid = value;
    }
    return out;
}

} // namespace godwit::tools
