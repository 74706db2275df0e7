// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tools/editor.h"

#include "base/i18n.h"
#include "base/unique_fd.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <glib.h>
#include <memory>
#include <sys/wait.h>

namespace godwit::tools {

using namespace base;

namespace {

/// A file with the text, which goes away unless it is kept.
class Draft
{
public:
    static Result<Draft> create(std::string_view text)
    {
        Draft draft;
        draft.path = (std::filesystem::temp_directory_path() / "godwit-XXXXXX.xml").string();
        const UniqueFd fd(::mkostemps(draft.path.data(), 4, O_CLOEXEC));
        if (!fd)
            return systemError(errno, tr("cannot create '%s'"), draft.path.c_str());
        GError *error = nullptr;
        if (!g_file_set_contents_full(draft.path.c_str(), text.data(), static_cast<gssize>(text.size()),
                                      G_FILE_SET_CONTENTS_NONE, 0600, &error))
            return fail(error);
        return draft;
    }
    Draft(Draft &&other) noexcept : path(std::exchange(other.path, {})) {}
    ~Draft()
    {
        if (!path.empty())
            ::unlink(path.c_str());
    }

    Result<std::string> read() const
    {
        char *text = nullptr;
        size_t length = 0;
        GError *error = nullptr;
        if (!g_file_get_contents(path.c_str(), &text, &length, &error))
            return fail(error);
        const std::string out(text, length);
        g_free(text);
        return out;
    }
    std::string keep() { return std::exchange(path, {}); }

    std::string path;

private:
    Draft() = default;
    static Error fail(GError *error)
    {
        Error out = makeError(ErrorCode::System, "%s", error->message);
        g_error_free(error);
        return out;
    }
};

std::string editorCommand()
{
    for (const char *name : {"VISUAL", "EDITOR"})
        if (const char *value = std::getenv(name); value && *value)
            return value;
    return "vi";
}

/// Standard input and output may be the image's way in and out.
const char *redirections()
{
    const bool in = ::isatty(STDIN_FILENO), out = ::isatty(STDOUT_FILENO);
    if (in && out)
        return "";
    const bool terminal = static_cast<bool>(UniqueFd(::open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY)));
    return terminal ? " < /dev/tty > /dev/tty" : " < /dev/null >&2";
}

Result<void> runEditor(const std::string &path)
{
    const std::string editor = editorCommand();
    char *quoted = g_shell_quote(path.c_str());
    const std::string command = editor + " " + quoted + redirections();   // through the shell: "emacs -nw" is one, too
    g_free(quoted);
    std::fflush(nullptr);
    const int status = std::system(command.c_str());
    if (status < 0)
        return systemError(errno, tr("cannot start the editor '%s'"), editor.c_str());
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return makeError(ErrorCode::OperationFailed, tr("the editor '%s' failed: nothing is changed"), editor.c_str());
    return {};
}

bool wantsAnotherTry(const Error &problem)
{
    const std::unique_ptr<FILE, decltype(&std::fclose)> terminal(std::fopen("/dev/tty", "r+e"), std::fclose);
    if (!terminal || !::isatty(STDERR_FILENO))
        return false;
    // Translators: "y" for yes stays as it is.
    std::fprintf(stderr, tr("%s\nEdit again? [y/n] "), problem.message.c_str());
    char answer[16] = "";
    return std::fgets(answer, sizeof answer, terminal.get()) && (answer[0] == 'y' || answer[0] == 'Y');
}

} // namespace

Result<std::string> editText(std::string_view text, const std::function<Result<void>(const std::string &)> &check)
{
    Draft draft = TRY(Draft::create(text));
    for (;;) {
        TRY(runEditor(draft.path));
        std::string edited = TRY(draft.read());
        const auto verdict = check(edited);
        if (verdict)
            return edited;
        if (!wantsAnotherTry(verdict.error())) {
            const std::string kept = draft.keep();
            return makeError(ErrorCode::BadFormat, tr("%s; nothing is changed, your text is kept in '%s'"),
                             verdict.error().message.c_str(), kept.c_str());
        }
    }
}

Result<std::string> keepText(std::string_view text)
{
    return TRY(Draft::create(text)).keep();
}

} // namespace godwit::tools
