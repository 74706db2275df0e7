// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// libxl's contexts. Each long operation has one of its own: what libxl and its save helper
// log meanwhile, and how far they say they are, is then that operation's and nobody else's.

#include "base/result.h"
#include "hypervisor/xen/libxl.h"

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace godwit::hypervisor::xen {

/// What libxl reports of something long: what it is at, and how much of it is done.
using ProgressFunction = std::function<void(const char *what, unsigned long done, unsigned long total)>;

class Context
{
public:
    static base::Result<std::unique_ptr<Context>> open();
    ~Context();
    Context(const Context &) = delete;
    Context &operator=(const Context &) = delete;

    libxl_ctx *get() const { return ctx_; }
    operator libxl_ctx *() const { return ctx_; }
    /// Called on whatever thread libxl happens to run on, and must not call libxl.
    void onProgress(ProgressFunction function);

    /// libxl's code `result` as an error, with the lines of error that it logged since the
    /// last one: the first few tell the cause, those after it what came of it.
    base::Error failure(int result, const std::string &what);
    /// The same as a Result, for a call whose success is 0.
    base::Result<void> check(int result, const std::string &what);
    void forgetComplaints();

private:
    struct Logger;
    Context() = default;
    static void message(xentoollog_logger *logger, xentoollog_level level, int errnum, const char *context,
                        const char *format, va_list arguments);
    static void progress(xentoollog_logger *logger, const char *context, const char *what, int percent,
                         unsigned long done, unsigned long total);
    void note(std::string line);
    std::string complaints();

    std::unique_ptr<Logger> logger_;
    libxl_ctx *ctx_ = nullptr;
    std::mutex mutex_;
    std::vector<std::string> complaints_;
    ProgressFunction progress_;
};

/// A log line of libxl's without the place in its source where it was written.
std::string withoutPlace(const std::string &line);

/// One asynchronous operation of libxl's: the calling thread runs libxl's own event loop
/// until it is over, and others may abort it.
class Operation
{
public:
    /// For what xenstore has no part in.
    static base::Result<std::unique_ptr<Operation>> open();
    /// For all else; refused where xenstored has died, even if it was while this was called.
    static base::Result<std::unique_ptr<Operation>> withXenstore();

    using Start = std::function<int(libxl_ctx *ctx, const libxl_asyncop_how *how)>;
    /// Begin it and wait for its end. `what`: what failed, in an error's words.
    base::Result<void> run(const std::string &what, const Start &start);
    /// What run() answered last, in libxl's own code.
    int code() const { return code_; }
    /// Make run() end soon, with ErrorCode::Aborted. From any thread.
    void abort();
    Context &context() { return *context_; }

private:
    explicit Operation(std::unique_ptr<Context> context);
    int wait();

    std::unique_ptr<Context> context_;
    libxl_asyncop_how how_{};
    int code_ = 0;
    std::mutex mutex_;
    bool running_ = false;
    bool aborted_ = false;
};

} // namespace godwit::hypervisor::xen
