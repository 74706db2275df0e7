// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// What godwit-stream can be told to do: a row of the table in main.cpp, a file each.

#include "base/result.h"

namespace godwit::tools {

/// What the program's exit status says; godwit-stream(1) has the same list.
enum class ExitCode : int {
    Fine = 0,
    No = 1,         ///< verify: not valid; diff: they differ
    Usage = 2,
    InputOutput = 3,
    BadInput = 4,   ///< broken, unknown, or not what this command is for
};

struct Command {
    const char *name;
    const char *arguments;
    const char *summary;
    base::Result<ExitCode> (*run)(const Command &command, int argc, char **argv);
};

base::Result<ExitCode> runInfo(const Command &command, int argc, char **argv);
base::Result<ExitCode> runVerify(const Command &command, int argc, char **argv);
base::Result<ExitCode> runConvert(const Command &command, int argc, char **argv);
base::Result<ExitCode> runExtract(const Command &command, int argc, char **argv);
base::Result<ExitCode> runEditXml(const Command &command, int argc, char **argv);
base::Result<ExitCode> runDiff(const Command &command, int argc, char **argv);
/// As libxl calls its converter of legacy streams (LIBXL_CONVERT_HELPER).
base::Result<ExitCode> runLibxlConverter(const Command &command, int argc, char **argv);

} // namespace godwit::tools
