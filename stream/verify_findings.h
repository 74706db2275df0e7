// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "stream/verify.h"

namespace godwit::stream {

/// Collects what a verification finds: the first findings, and how many there were.
class Findings
{
public:
    explicit Findings(size_t most) : most_(most) {}

    void add(Severity severity, uint64_t offset, std::string place, std::string message);

    void error(const RecordAt &record, std::string message) { errorAt(record, record.offset, std::move(message)); }
    void errorAt(const RecordAt &record, uint64_t offset, std::string message)
    {
        add(Severity::Error, offset, record.label(), std::move(message));
    }
    void warning(const RecordAt &record, std::string message) { warningAt(record, record.offset, std::move(message)); }
    void warningAt(const RecordAt &record, uint64_t offset, std::string message)
    {
        add(Severity::Warning, offset, record.label(), std::move(message));
    }

    /// What kept us from going on: an error of the system's is one of ours, anything else
    /// is found.
    base::Result<void> end(uint64_t offset, std::string place, const base::Error &error);

    Report takeReport() { return std::move(report_); }
    Report &report() { return report_; }

private:
    size_t most_;
    Report report_;
};

} // namespace godwit::stream
