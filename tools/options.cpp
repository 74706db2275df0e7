// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tools/options.h"

#include "base/i18n.h"
#include "base/strprintf.h"

#include <cerrno>
#include <cstdio>
#include <memory>

namespace godwit::tools {

using namespace base;

void Options::add(const char *name, char letter, GOptionArg kind, void *value, const char *help, const char *argument)
{
    entries_.push_back({name, letter, 0, kind, value, help, argument});
}

void Options::flag(const char *name, char letter, bool &value, const char *help)
{
    add(name, letter, G_OPTION_ARG_NONE, &flags_.emplace_back(Flag{&value}).given, help, nullptr);
}

void Options::text(const char *name, char letter, std::optional<std::string> &value, const char *help,
                   const char *argument)
{
    add(name, letter, G_OPTION_ARG_FILENAME, &texts_.emplace_back(Text{&value}).given, help, argument);
}

void Options::progress(std::optional<bool> &value)
{
    progress_ = &value;
    flag("progress", 0, withProgress_, tr("Show progress, also when no terminal is there to see it"));
    flag("no-progress", 0, withoutProgress_, tr("Show no progress"));
}

void Options::reading(bool &checkpointed, std::optional<bool> &showProgress)
{
    flag("checkpointed", 'c', checkpointed, tr("A legacy stream is of continuous protection (Remus)"));
    progress(showProgress);
}

void Options::take()
{
    for (const Flag &flag : flags_)
        if (flag.given)
            *flag.value = true;
    for (Text &text : texts_) {
        if (text.given)
            *text.value = text.given;
        g_free(text.given);
        text.given = nullptr;
    }
    if (progress_ && (withProgress_ || withoutProgress_))
        *progress_ = !withoutProgress_;
}

Result<std::optional<std::vector<std::string>>> Options::parse(int argc, char **argv, size_t least, size_t most)
{
    flag("help", 'h', help_, tr("Show this help"));
    entries_.push_back({});
    g_set_prgname(command_.name[0] ? strprintf("godwit-stream %s", command_.name).c_str() : "godwit-stream");
    const std::unique_ptr<GOptionContext, decltype(&g_option_context_free)> context(
        g_option_context_new(command_.arguments), g_option_context_free);
    g_option_context_set_summary(context.get(), command_.summary);
    g_option_context_set_help_enabled(context.get(), FALSE);
    g_option_context_add_main_entries(context.get(), entries_.data(), "godwit");

    std::vector<char *> copy(argv, argv + argc);
    copy.push_back(nullptr);
    char **arguments = copy.data();
    GError *error = nullptr;
    const bool parsed = g_option_context_parse(context.get(), &argc, &arguments, &error);
    take();
    if (!parsed) {
        const Error failure = makeError(ErrorCode::InvalidArgument, "%s", error->message);
        g_error_free(error);
        return failure;
    }
    if (help_) {
        const std::unique_ptr<char, decltype(&g_free)> text(g_option_context_get_help(context.get(), TRUE, nullptr),
                                                            g_free);
        if (std::fputs(text.get(), stdout) < 0)
            return systemError(errno, "%s", tr("cannot write"));
        return std::optional<std::vector<std::string>>();
    }
    std::vector<std::string> rest;
    for (int i = 1; i < argc; i++)
        if (std::string_view(arguments[i]) != "--" || i > 1)
            rest.emplace_back(arguments[i]);
    if (rest.size() < least)
        return makeError(ErrorCode::InvalidArgument, tr("too few arguments: expected %s"), command_.arguments);
    if (rest.size() > most)
        return makeError(ErrorCode::InvalidArgument, tr("too many arguments: expected %s"), command_.arguments);
    return std::optional(std::move(rest));
}

} // namespace godwit::tools
