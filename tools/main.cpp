// SPDX-License-Identifier: LGPL-2.1-or-later
// godwit-stream: shows, verifies, converts, takes apart and compares images and streams.

#include "base/i18n.h"
#include "tools/command.h"
#include "tools/printable.h"

#include <array>
#include <cerrno>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <string>
#include <string_view>
#include <unistd.h>

namespace godwit::tools {

using namespace base;

namespace {

/// A function, so that the summaries are translated after the locale is set.
auto allCommands()
{
    return std::to_array<Command>({
        {"info", "IMAGE", tr("Show what an image or a stream is and holds"), runInfo},
        {"verify", "IMAGE", tr("Hold a stream against the specification"), runVerify},
        {"convert", "IMAGE [OUTPUT]", tr("Convert a legacy stream, or an image that holds one"), runConvert},
        {"extract", "IMAGE", tr("Take domain XML, device state or memory out of an image"), runExtract},
        {"edit-xml", "IMAGE [OUTPUT]", tr("Change the domain XML of an image"), runEditXml},
        {"diff", "IMAGE IMAGE", tr("Compare two images: XML, memory, the rest"), runDiff},
    });
}

Result<ExitCode> printHelp()
{
    std::string text = tr("Usage: godwit-stream COMMAND [OPTION...] ARGUMENT...\n"
                          "       godwit-stream COMMAND --help\n"
                          "       godwit-stream --in FD --out FD --guest hvm|pv [OPTION...]   (as libxl's converter)\n"
                          "       godwit-stream --help | --version\n"
                          "\n"
                          "An image or stream is a file or \"-\", standard input. Commands:\n"
                          "\n");
    for (const Command &command : allCommands()) {
        std::string name = command.name;
        name.resize(10, ' ');
        text += "  " + name + command.summary + "\n";
    }
    text += tr("\n"
               "Exit status: 0 fine, 1 not valid (verify) or different (diff), 2 wrong usage,\n"
               "3 a file cannot be read or written, 4 the input is broken or of the wrong kind.\n");
    std::fputs(text.c_str(), stdout);
    return ExitCode::Fine;
}

Result<ExitCode> dispatch(int argc, char **argv)
{
    const std::string_view first = argc > 1 ? argv[1] : "";
    if (first == "--help" || first == "-h")
        return printHelp();
    if (first == "--version") {
        std::puts("godwit-stream " GODWIT_VERSION);
        return ExitCode::Fine;
    }
    if (first.starts_with("-")) {
        const Command converter{"", "--in FD --out FD", tr("Convert a legacy stream, as libxl asks for it"), runLibxlConverter};
        return runLibxlConverter(converter, argc, argv);
    }
    for (const Command &command : allCommands())
        if (first == command.name)
            return command.run(command, argc - 1, argv + 1);
    if (first.empty())
        return makeError(ErrorCode::InvalidArgument, "%s", tr("expected a command (see godwit-stream --help)"));
    return makeError(ErrorCode::InvalidArgument, tr("'%s' is no command (see godwit-stream --help)"), argv[1]);
}

ExitCode exitCodeOf(ErrorCode code)
{
    switch (code) {
    case ErrorCode::InvalidArgument:
        return ExitCode::Usage;
    case ErrorCode::System:
        return ExitCode::InputOutput;
    default:
        return ExitCode::BadInput;
    }
}

/// Results on standard output are only results when they got there.
Result<ExitCode> runAndFlush(int argc, char **argv)
{
    const ExitCode code = TRY(dispatch(argc, argv));
    errno = 0;
    if (std::fflush(stdout) != 0 || std::ferror(stdout))
        return systemError(errno ? errno : EIO, "%s", tr("cannot write to standard output"));
    return code;
}

/// A file must not get the number of a standard stream, and with it what is written there. Each of
/// these is for the other direction: still, nothing is read or written.
void keepStandardFds()
{
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
        if (::fcntl(fd, F_GETFD) < 0)
            (void)!::open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

} // namespace

static int main(int argc, char **argv)
{
    keepStandardFds();
    std::setlocale(LC_ALL, "");
    std::signal(SIGPIPE, SIG_IGN);   // both are errors of write() then
    std::signal(SIGXFSZ, SIG_IGN);
    const auto outcome = runAndFlush(argc, argv);
    if (outcome)
        return static_cast<int>(*outcome);
    std::fprintf(stderr, "godwit-stream: %s\n", printable(outcome.error().message).c_str());
    return static_cast<int>(exitCodeOf(outcome.error().code));
}

} // namespace godwit::tools

int main(int argc, char **argv)
{
    return godwit::tools::main(argc, argv);
}
