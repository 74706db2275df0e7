// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/machine/json.h"

#include <memory>

namespace godwit::hypervisor::machine {

using base::ErrorCode;
using base::makeError;
using base::Result;

Json::Json(bool value) : Json(json_node_init_boolean(json_node_alloc(), value)) {}
Json::Json(int64_t value) : Json(json_node_init_int(json_node_alloc(), value)) {}
Json::Json(const char *value) : Json(json_node_init_string(json_node_alloc(), value)) {}

Json Json::object(std::initializer_list<Member> members)
{
    JsonObject *object = json_object_new();
    for (const auto &[name, value] : members) {
        if (value)
            json_object_set_member(object, name, json_node_ref(value.node_.get()));
    }
    Json out(json_node_init_object(json_node_alloc(), object));
    json_object_unref(object);
    return out;
}

Json Json::array(const std::vector<Json> &elements)
{
    JsonArray *array = json_array_new();
    for (const Json &element : elements)
        json_array_add_element(array, json_node_ref(element.node_.get()));
    Json out(json_node_init_array(json_node_alloc(), array));
    json_array_unref(array);
    return out;
}

/// What json-glib is not to be given: it descends by recursion, which eats the stack; of two
/// values it forgets the first; and it knows comments and other strings, in which quotation marks
/// would mislead us here.
static const char *findExcess(std::string_view text)
{
    constexpr int limit = 64;
    int depth = 0;
    bool quoted = false, complete = false;
    for (size_t i = 0; i < text.size(); i++) {
        const char c = text[i];
        if (depth == 0 && !g_ascii_isspace(c) && (complete || (c != '{' && c != '[')))
            return "JSON: neither one object nor one array";
        if (quoted) {
            if (c == '\\')
                i++;
            else if (c == '"')
                quoted = false;
        } else if (c == '"') {
            quoted = true;
        } else if (c == '/' || c == '#' || c == '\'' || c == '\0') {
            return "JSON has no such character here";
        } else if (c == '{' || c == '[') {
            if (++depth > limit)
                return "JSON is nested too deeply";
        } else if (c == '}' || c == ']') {
            complete = --depth == 0;
        }
    }
    return nullptr;
}

Result<Json> Json::parse(std::string_view text)
{
    if (const char *excess = findExcess(text))
        return makeError(ErrorCode::BadFormat, "%s", excess);
    std::unique_ptr<JsonParser, decltype(&g_object_unref)> parser(json_parser_new_immutable(), g_object_unref);
    GError *failed = nullptr;
    if (!json_parser_load_from_data(parser.get(), text.data(), static_cast<gssize>(text.size()), &failed)) {
        std::unique_ptr<GError, decltype(&g_error_free)> owner(failed, g_error_free);
        return makeError(ErrorCode::BadFormat, "JSON: %s", failed->message);
    }
    JsonNode *root = json_parser_steal_root(parser.get());
    if (!root)
        return makeError(ErrorCode::BadFormat, "JSON: no value");
    return Json(root);
}

std::string Json::text() const
{
    if (!node_)
        return {};
    std::unique_ptr<char, decltype(&g_free)> out(json_to_string(node_.get(), false), g_free);
    return out.get();
}

Json Json::operator[](std::string_view path) const
{
    if (!isObject())
        return {};
    // A name with a dot in it, as QEMU's own paths have none, is not looked up as a whole.
    const size_t dot = path.find('.');
    const std::string name(path.substr(0, dot));
    JsonNode *found = json_object_get_member(json_node_get_object(node_.get()), name.c_str());
    if (!found || JSON_NODE_HOLDS_NULL(found))
        return {};
    Json member(*this, found);
    return dot == std::string_view::npos ? member : member[path.substr(dot + 1)];
}

std::optional<int64_t> Json::integer() const
{
    if (!node_ || !JSON_NODE_HOLDS_VALUE(node_.get()) || json_node_get_value_type(node_.get()) != G_TYPE_INT64)
        return std::nullopt;
    return json_node_get_int(node_.get());
}

std::optional<double> Json::number() const
{
    if (!node_ || !JSON_NODE_HOLDS_VALUE(node_.get()))
        return std::nullopt;
    if (json_node_get_value_type(node_.get()) == G_TYPE_INT64)
        return static_cast<double>(json_node_get_int(node_.get()));
    if (json_node_get_value_type(node_.get()) == G_TYPE_DOUBLE)
        return json_node_get_double(node_.get());
    return std::nullopt;
}

std::optional<bool> Json::boolean() const
{
    if (!node_ || !JSON_NODE_HOLDS_VALUE(node_.get()) || json_node_get_value_type(node_.get()) != G_TYPE_BOOLEAN)
        return std::nullopt;
    return json_node_get_boolean(node_.get());
}

std::optional<std::string> Json::string() const
{
    if (!node_ || !JSON_NODE_HOLDS_VALUE(node_.get()) || json_node_get_value_type(node_.get()) != G_TYPE_STRING)
        return std::nullopt;
    return json_node_get_string(node_.get());
}

std::vector<Json> Json::elements() const
{
    std::vector<Json> out;
    if (!isArray())
        return out;
    JsonArray *array = json_node_get_array(node_.get());
    for (guint i = 0; i < json_array_get_length(array); i++)
        out.push_back(Json(*this, json_array_get_element(array, i)));
    return out;
}

} // namespace godwit::hypervisor::machine
