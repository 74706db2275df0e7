// SPDX-License-Identifier: LGPL-2.1-or-later
// Any message of an agent: a byte that says which descriptors come with it, and its bytes.
#include "tests/hypervisor/agent_messages.h"

#include <cstdint>

using namespace godwit::hypervisor::machine;
using namespace godwit::tests;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static AgentSocket agent;
    static const int faults = makeUserfaultfd(), other = ::dup(0);
    if (size == 0 || size > 4096)
        return 0;
    std::vector<int> fds;
    for (unsigned bits = data[0]; bits > 0; bits >>= 2)
        if (const unsigned kind = bits & 3; kind > 0)
            fds.insert(fds.end(), kind == 3 ? 50 : 1, kind == 1 && faults >= 0 ? faults : other);
    const size_t before = openDescriptors();
    if (!agent.send(data + 1, size - 1, fds))
        return 0;
    {
        const auto offer = receiveOffer(agent.ours());
        if (offer && (size != 5 || fds.size() != 1 || fds[0] != faults || offer->faultsInGuest < 0))
            std::abort();
    }
    if (openDescriptors() != before)
        std::abort();
    return 0;
}
