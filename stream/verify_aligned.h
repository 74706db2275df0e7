// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "stream/savefile.h"
#include "stream/verify_findings.h"

namespace godwit::stream {

/// The rules of an aligned image's batches, as far as the stream tells: where one of the guest's
/// regions ends and a neighbour begins stands in the XML, which is not looked at.
class AlignedVerifier
{
public:
    /// `begin` is the offset of the stream's first byte.
    AlignedVerifier(Findings &findings, const AlignedIndex &index, uint64_t begin);

    void record(const RecordAt &record);
    void pages(const RecordAt &record, std::span<const PageAt> pages);

private:
    void absent(const RecordAt &record, const PageAt &page);
    void present(const RecordAt &record, const PageAt &page);
    /// Only a record's first finding.
    void error(const RecordAt &record, std::string message);

    Findings &findings_;
    AlignedIndex index_;
    uint64_t expected_;                         ///< where the next batch has to begin
    uint64_t pages_ = 0;                        ///< of this record: present ones so far
    uint64_t next_ = 0;                         ///< behind the last page that was present
    std::optional<base::Pfn> filler_;           ///< what absent words name
    bool reported_ = false;                     ///< something, of this record
    bool seen_ = false;                         ///< a batch
};

} // namespace godwit::stream
