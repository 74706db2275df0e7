// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/stream/golden.h"

#include <cstdlib>
#include <fstream>
#include <sstream>

namespace godwit::tests {

namespace fs = std::filesystem;

TemporaryFolder::TemporaryFolder()
{
    std::string pattern = (fs::temp_directory_path() / "streams-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
}

TemporaryFolder::~TemporaryFolder()
{
    std::error_code ignored;
    fs::remove_all(path_, ignored);
}

Bytes contentOf(const std::string &path)
{
    std::ifstream file(path, std::ios::binary);
    std::stringstream out;
    out << file.rdbuf();
    return bytesOf(out.str());
}

int run(const std::string &command)
{
    return std::system(command.c_str());
}

bool haveXensVerifier()
{
    return fs::exists("/usr/lib/xen-4.17/lib/python/xen/migration/libxl.py");
}

static std::vector<GoldenStream> makeGoldenStreams()
{
    const TemporaryFolder folder;
    const std::string generator = "/usr/bin/python3 " GODWIT_STREAM_GENERATOR;
    if (run(generator + " --all " + folder.file("") + " && " + generator + " --list > " + folder.file("list")) != 0)
        return {};
    std::vector<GoldenStream> streams;
    std::ifstream list(folder.file("list"));
    for (GoldenStream one; list >> one.name >> one.format >> one.warnings >> one.xen;) {
        one.data = contentOf(folder.file(one.name));
        one.records.clear();
        std::ifstream records(folder.file(one.name + ".records"));
        for (std::string line; std::getline(records, line);)
            one.records.push_back(line);
        streams.push_back(one);
    }
    return streams;
}

const std::vector<GoldenStream> &goldenStreams()
{
    static const std::vector<GoldenStream> streams = makeGoldenStreams();
    return streams;
}

} // namespace godwit::tests
