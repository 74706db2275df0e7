// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.h"

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <json-glib/json-glib.h>

namespace godwit::hypervisor::machine {

/// One JSON value, shared and never changed after it was made. Whatever QEMU sends is
/// looked at through it: a member that is absent or of another type is simply not there.
class Json
{
public:
    Json() = default;   ///< nothing: no value at all
    Json(bool value);
    Json(int value) : Json(static_cast<int64_t>(value)) {}
    Json(int64_t value);
    Json(uint64_t value) : Json(static_cast<int64_t>(value)) {}
    Json(const char *value);
    Json(const std::string &value) : Json(value.c_str()) {}
    using Member = std::pair<const char *, Json>;
    /// Members whose value is nothing are left out.
    static Json object(std::initializer_list<Member> members);
    static Json array(const std::vector<Json> &elements);
    /// One whole text of at most 64 levels.
    static base::Result<Json> parse(std::string_view text);
    std::string text() const;   ///< on one line

    explicit operator bool() const { return node_ != nullptr; }
    bool isObject() const { return node_ && JSON_NODE_HOLDS_OBJECT(node_.get()); }
    bool isArray() const { return node_ && JSON_NODE_HOLDS_ARRAY(node_.get()); }

    /// A member, or nothing; `a.b` looks into nested objects.
    Json operator[](std::string_view path) const;
    std::optional<int64_t> integer() const;
    std::optional<double> number() const;
    std::optional<bool> boolean() const;
    std::optional<std::string> string() const;
    /// Every element of an array; of anything else, none.
    std::vector<Json> elements() const;

private:
    /// Takes over the caller's reference.
    explicit Json(JsonNode *node) : node_(node, json_node_unref) {}
    /// A part of `whole`, which lives as long as the part.
    Json(const Json &whole, JsonNode *part) : node_(whole.node_, part) {}

    // Counted here and not by GLib, whose counters ThreadSanitizer cannot see: answers
    // travel between threads.
    std::shared_ptr<JsonNode> node_;
};

} // namespace godwit::hypervisor::machine
