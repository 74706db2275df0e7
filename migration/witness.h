// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// The destination's side of migration/verdict.h: it goes on listening where the data connection
// came in, and tells what became of the guest.
//
//   made       Prepare; the helper still uses the same socket: whoever asks waits in its queue.
//              Or the restart of a daemon, from what the one before wrote down
//   testify()  Finish is through, or the copy was ended: a thread of the Host's answers
//   gone       the source said Settled, some minutes have passed: its record goes, too. Or the
//              Host ends: the next one takes it from the record

#include "base/unique_fd.h"
#include "domain/background.h"
#include "migration/verdict.h"
#include "migration/witness_record.h"

#include <memory>

namespace godwit::migration {

class Witness : public std::enable_shared_from_this<Witness>
{
public:
    /// `here`: where it listens; without a secret nobody can ask. `acquired`: its port is given back
    /// to the allocator at the end. `path`: of its record.
    Witness(base::UniqueFd listener, domain::MigrationLink here, bool acquired, std::string path);
    ~Witness();
    Witness(const Witness &) = delete;
    Witness &operator=(const Witness &) = delete;

    /// Write down what it will testify, before that becomes true. A failure is logged: then only
    /// this process can tell.
    void record(Verdict verdict);
    /// Answer from now on; once.
    void testify(Verdict verdict, domain::Background &background);
    /// Take the place of the one that wrote a record.
    static base::Result<void> resume(const std::string &path, domain::Host &host);

private:
    void serve(Verdict verdict, int stopFd);
    /// Whether all is settled; else the Host ends.
    bool serveUntilSettled(Verdict verdict, int stopFd);
    /// One connection; true when all is settled.
    bool answer(int connection, Verdict verdict, int stopFd);

    base::UniqueFd listener_;
    const domain::MigrationLink here_;
    const bool acquired_;
    const std::string path_;
    std::chrono::system_clock::time_point until_;   ///< nobody asks any longer; set when it is written down
    bool testifying_ = false;
    bool keepRecord_ = false;
};

} // namespace godwit::migration
