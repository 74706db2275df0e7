// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tools/domain_xml.h"

#include "base/i18n.h"

#include <cstring>
#include <glib.h>
#include <memory>

namespace godwit::tools {

using namespace base;

namespace {

struct Reading {
    DomainSummary summary;
};

void onStart(GMarkupParseContext *context, const char *element, const char **names, const char **values, void *data,
             GError **error)
{
    auto &reading = *static_cast<Reading *>(data);
    if (g_markup_parse_context_get_element_stack(context)->next)
        return;
    if (std::strcmp(element, "domain") != 0)
        g_set_error(error, G_MARKUP_ERROR, G_MARKUP_ERROR_INVALID_CONTENT, tr("the root element is <%s>, not <domain>"), element);
    for (size_t i = 0; names[i]; i++)
        if (std::strcmp(names[i], "type") == 0)
            reading.summary.type = values[i];
}

void onText(GMarkupParseContext *context, const char *text, size_t length, void *data, GError **)
{
    auto &reading = *static_cast<Reading *>(data);
    const GSList *stack = g_markup_parse_context_get_element_stack(context);
    if (!stack || !stack->next || stack->next->next)
        return;
    const std::string_view element = static_cast<const char *>(stack->data);
    if (element == "name")
        reading.summary.name.append(text, length);
    else if (element == "uuid")
        reading.summary.uuid.append(text, length);
}

} // namespace

Result<DomainSummary> summariseDomain(std::string_view xml)
{
    Reading reading;
    const GMarkupParser parser{onStart, nullptr, onText, nullptr, nullptr};
    const std::unique_ptr<GMarkupParseContext, decltype(&g_markup_parse_context_free)> context(
        g_markup_parse_context_new(&parser, G_MARKUP_TREAT_CDATA_AS_TEXT, &reading, nullptr), g_markup_parse_context_free);
    GError *error = nullptr;
    if (g_markup_parse_context_parse(context.get(), xml.data(), static_cast<gssize>(xml.size()), &error) &&
        g_markup_parse_context_end_parse(context.get(), &error))
        return std::move(reading.summary);
    const Error failure = makeError(ErrorCode::BadFormat, tr("the domain XML is not well-formed: %s"), error->message);
    g_error_free(error);
    return failure;
}

} // namespace godwit::tools
