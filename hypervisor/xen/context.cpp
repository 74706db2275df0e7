// SPDX-License-Identifier: LGPL-2.1-or-later
#include "hypervisor/xen/context.h"

#include "base/i18n.h"
#include "base/log.h"
#include "base/strprintf.h"
#include "hypervisor/xen/xenstored.h"

#include <cstring>
#include <regex>

namespace godwit::hypervisor::xen {

using base::Error;
using base::ErrorCode;
using base::LogLevel;
using base::makeError;
using base::Result;
using base::strprintf;
using base::tr;

/// Lines beyond these only say what became of the first ones.
static constexpr size_t maxComplaints = 6;
static constexpr size_t maxLine = 512;

/// What libxl calls: its structure first, so that the pointer to it is a pointer to us.
struct Context::Logger {
    xentoollog_logger functions;
    Context *context;
};

void Context::message(xentoollog_logger *logger, xentoollog_level level, int errnum, const char *context,
                      const char *format, va_list arguments)
{
    char text[maxLine];
    std::vsnprintf(text, sizeof text, format, arguments);
    std::string line = text;
    if (errnum > 0)
        line += std::string(": ") + std::strerror(errnum);
    const LogLevel ours = level >= XTL_ERROR  ? LogLevel::Error
                          : level >= XTL_WARN ? LogLevel::Warning
                          : level >= XTL_INFO ? LogLevel::Info
                                              : LogLevel::Debug;
    log(ours, "%s: %s", context ? context : "libxl", line.c_str());
    if (level >= XTL_ERROR)
        reinterpret_cast<Logger *>(logger)->context->note(withoutPlace(line));
}

void Context::progress(xentoollog_logger *logger, const char *, const char *what, int, unsigned long done,
                       unsigned long total)
{
    Context &self = *reinterpret_cast<Logger *>(logger)->context;
    ProgressFunction function;
    {
        std::lock_guard lock(self.mutex_);
        function = self.progress_;
    }
    if (function)
        function(what ? what : "", done, total);
}

std::string withoutPlace(const std::string &line)
{
    static const std::regex place(R"(^\w+\.c:\d+:\w+: *)");
    return std::regex_replace(line, place, "", std::regex_constants::format_first_only);
}

void Context::note(std::string line)
{
    std::lock_guard lock(mutex_);
    if (complaints_.size() < maxComplaints && (complaints_.empty() || complaints_.back() != line))
        complaints_.push_back(std::move(line));
}

/// Without this libxl would end the whole process.
static void disaster(void *, libxl_event_type, const char *text, int errnum)
{
    log(LogLevel::Error, "libxl cannot go on: %s: %s", text, std::strerror(errnum));
}

// libvirtd waits for its own children by their numbers; libxl reaps its own, and no other.
static constexpr libxl_childproc_hooks childHooks = {
    .chldowner = libxl_sigchld_owner_libxl_always_selective_reap,
};
static constexpr libxl_event_hooks eventHooks = {.disaster = disaster};

Result<std::unique_ptr<Context>> Context::open()
{
    std::unique_ptr<Context> context(new Context);
    context->logger_ = std::make_unique<Logger>();
    context->logger_->functions = {.vmessage = message, .progress = progress, .destroy = nullptr};
    context->logger_->context = context.get();
    if (libxl_ctx_alloc(&context->ctx_, LIBXL_VERSION, 0, &context->logger_->functions) != 0)
        return makeError(ErrorCode::OperationFailed, "%s: %s", tr("cannot talk to Xen"),
                         context->complaints().c_str());
    libxl_event_register_callbacks(context->ctx_, &eventHooks, nullptr);
    libxl_childproc_setmode(context->ctx_, &childHooks, nullptr);
    return context;
}

Context::~Context()
{
    libxl_ctx_free(ctx_);
}

void Context::onProgress(ProgressFunction function)
{
    std::lock_guard lock(mutex_);
    progress_ = std::move(function);
}

std::string Context::complaints()
{
    std::lock_guard lock(mutex_);
    std::string all;
    for (const std::string &line : complaints_)
        all += (all.empty() ? "" : "; ") + line;
    complaints_.clear();
    return all.empty() ? tr("libxl gives no reason") : all;
}

void Context::forgetComplaints()
{
    std::lock_guard lock(mutex_);
    complaints_.clear();
}

static ErrorCode codeOf(int result)
{
    switch (result) {
    case ERROR_ABORTED: return ErrorCode::Aborted;
    case ERROR_TIMEDOUT:
    case ERROR_GUEST_TIMEDOUT: return ErrorCode::TimedOut;
    case ERROR_NOMEM:
    case ERROR_FAIL: return ErrorCode::OperationFailed;
    case ERROR_INVAL: return ErrorCode::InvalidArgument;
    case ERROR_NOPARAVIRT:
    case ERROR_FEATURE_REMOVED: return ErrorCode::Unsupported;
    case ERROR_DOMAIN_NOTFOUND: return ErrorCode::OperationInvalid;
    default: return ErrorCode::OperationFailed;
    }
}

Error Context::failure(int result, const std::string &what)
{
    std::string why = complaints();
    // libxl's own lines speak of bad descriptors then, or say nothing.
    if (auto living = requireXenstored(); !living)
        why = living.error().message + ": " + why;
    return makeError(codeOf(result), "%s: %s (libxl %d)", what.c_str(), why.c_str(), result);
}

Result<void> Context::check(int result, const std::string &what)
{
    if (result == 0)
        return {};
    return failure(result, what);
}

// ---- Operation ---------------------------------------------------------------------------

Operation::Operation(std::unique_ptr<Context> context) : context_(std::move(context))
{
    how_.u.for_event = reinterpret_cast<libxl_ev_user>(this);
}

Result<std::unique_ptr<Operation>> Operation::open()
{
    return std::unique_ptr<Operation>(new Operation(TRY(Context::open())));
}

/// A context keeps the connection that it was opened with. That to the daemon ends in an error with the daemon; the
/// kernel's waits for ever. So the daemon is looked for last: if it lives by then, this context has no other.
Result<std::unique_ptr<Operation>> Operation::withXenstore()
{
    auto operation = TRY(open());
    TRY(requireXenstored());
    return operation;
}

int Operation::wait()
{
    constexpr uint64_t mask = uint64_t{1} << LIBXL_EVENT_TYPE_OPERATION_COMPLETE;
    libxl_event *event = nullptr;
    if (int failed = libxl_event_wait(*context_, &event, mask, nullptr, nullptr))
        return failed;
    const int result = event->u.operation_complete.rc;
    libxl_event_free(*context_, event);
    return result;
}

Result<void> Operation::run(const std::string &what, const Start &start)
{
    context_->forgetComplaints();
    {
        std::lock_guard lock(mutex_);
        if (aborted_)
            return makeError(ErrorCode::Aborted, "%s", tr("the operation was aborted"));
        running_ = true;
    }
    code_ = start(*context_, &how_);
    if (code_ == 0) {
        // Who aborted before libxl knew of it was heard by nobody.
        bool aborted = false;
        {
            std::lock_guard lock(mutex_);
            aborted = aborted_;
        }
        if (aborted)
            libxl_ao_abort(*context_, &how_);
        code_ = wait();
    }
    std::lock_guard lock(mutex_);
    running_ = false;
    if (code_ == 0)
        return {};
    if (aborted_)
        return makeError(ErrorCode::Aborted, "%s", tr("the operation was aborted"));
    return context_->failure(code_, what);
}

void Operation::abort()
{
    {
        std::lock_guard lock(mutex_);
        aborted_ = true;
        if (!running_)
            return;
    }
    libxl_ao_abort(*context_, &how_);
}

} // namespace godwit::hypervisor::xen
