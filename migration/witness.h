// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// The destination's side of migration/verdict.h: it goes on listening where the data connection
// came in, and tells what became of the guest.
//
//   made       Prepare, or the restart of a daemon; the helper still uses the same socket:
//              whoever asks waits in its queue
//   testify()  Finish is through, or the copy was ended: a thread of the Host's answers
//   gone       the source said Settled, some minutes have passed, or the Host ends

#include "base/unique_fd.h"
#include "domain/background.h"
#include "migration/verdict.h"

#include <memory>

namespace godwit::migration {

class Witness : public std::enable_shared_from_this<Witness>
{
public:
    /// `port`: to be given back to the allocator when nobody listens there any more; 0: none.
    Witness(base::UniqueFd listener, std::string secret, unsigned short port);
    ~Witness();
    Witness(const Witness &) = delete;
    Witness &operator=(const Witness &) = delete;

    /// Answer from now on; once. Without a secret nobody can ask.
    void testify(Verdict verdict, domain::Background &background);

private:
    void serve(Verdict verdict, int stopFd);
    /// One connection; true when all is settled.
    bool answer(int connection, Verdict verdict, int stopFd);

    base::UniqueFd listener_;
    const std::string secret_;
    const unsigned short port_;
    bool testifying_ = false;
};

} // namespace godwit::migration
