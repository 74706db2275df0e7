// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// Where a command writes. A file is whole or absent: it gets its name when all is in it.
// Pipes, devices and standard output are written as it comes.

#include "base/result.h"
#include "base/unique_fd.h"

#include <cstdint>
#include <string>

namespace godwit::tools {

class Output
{
public:
    /// `path` "-" is standard output; a terminal only takes text.
    static base::Result<Output> open(const std::string &path, bool isText = false);

    Output(Output &&other) noexcept;
    Output &operator=(Output &&other) = delete;
    ~Output();

    /// About so many bytes will come: a file gets its place on the disk at once, which makes
    /// writing it faster. Only a wish.
    void expect(uint64_t size);

    int fd() const { return fd_.get(); }
    bool isFile() const { return isFile_; }
    const std::string &name() const { return name_; }
    /// Everything was written. What replaces another file is on the disk before it does so;
    /// a new file is not waited for, as with cp.
    base::Result<void> commit();

private:
    Output() = default;
    base::Result<void> openFile();
    base::Result<void> nameTemporary();

    std::string name_;          // for messages
    std::string path_;          // of a file: links resolved
    std::string temporary_;     // as long as it exists
    base::UniqueFd fd_;
    bool isFile_ = false, replaces_ = false, reserved_ = false;
};

} // namespace godwit::tools
