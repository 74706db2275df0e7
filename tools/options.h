// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "tools/command.h"

#include <glib.h>
#include <list>
#include <optional>
#include <string>
#include <vector>

namespace godwit::tools {

/// A command's options and arguments. Everything given to it must outlive parse().
class Options
{
public:
    explicit Options(const Command &command) : command_(command) {}

    void flag(const char *name, char letter, bool &value, const char *help);
    void text(const char *name, char letter, std::optional<std::string> &value, const char *help, const char *argument);
    /// --progress and --no-progress.
    void progress(std::optional<bool> &value);
    /// The same and --checkpointed, of those that read a whole stream.
    void reading(bool &checkpointed, std::optional<bool> &showProgress);
    /// Accepted, and not shown by --help.
    void hideLast() { entries_.back().flags |= G_OPTION_FLAG_HIDDEN; }

    /// What is left of the command line; nothing when --help was asked for and printed.
    /// It is an error unless there are `least` to `most` of it.
    base::Result<std::optional<std::vector<std::string>>> parse(int argc, char **argv, size_t least, size_t most);

private:
    struct Flag { bool *value; gboolean given = FALSE; };
    struct Text { std::optional<std::string> *value; char *given = nullptr; };

    void add(const char *name, char letter, GOptionArg kind, void *value, const char *help, const char *argument);
    void take();

    const Command &command_;
    std::vector<GOptionEntry> entries_;
    std::list<Flag> flags_;     // lists: GLib keeps pointers into them
    std::list<Text> texts_;
    std::optional<bool> *progress_ = nullptr;
    bool withProgress_ = false, withoutProgress_ = false, help_ = false;
};

} // namespace godwit::tools
