// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "tests/driver/fake_test.h"

namespace godwit::tests {

/// Two hosts, and a guest that moves from the first to the second.
class TwoHosts : public FakeHostsTest
{
protected:
    TwoHosts() : a(root("a")), b(root("b")) {}

    DomainHandle start(unsigned flags = 0);
    /// The same for a transient guest with these devices.
    DomainHandle startWith(const std::string &devices);
    /// The guest runs on the source as if nothing had been asked of it; b knows nothing of it.
    void expectOnlyOnSource(const DomainHandle &domain, const std::string &what);

    Client a;
    Client b;
};

} // namespace godwit::tests
