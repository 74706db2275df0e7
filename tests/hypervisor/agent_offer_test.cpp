// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/hypervisor/agent_messages.h"

#include <cstring>
#include <gtest/gtest.h>

namespace godwit::hypervisor::machine {

using tests::AgentSocket;
using tests::openDescriptors;

TEST(AgentOffer, IsAUserfaultfdAndItsNumber)
{
    const int faults = tests::makeUserfaultfd();
    if (faults < 0)
        GTEST_SKIP() << "no userfaultfd here";
    const base::UniqueFd owner(faults);
    AgentSocket agent;
    const int number = 7;
    ASSERT_TRUE(agent.send(&number, sizeof number, {faults}));
    const auto offer = receiveOffer(agent.ours());
    ASSERT_TRUE(offer);
    EXPECT_EQ(offer->faultsInGuest, 7);
    EXPECT_TRUE(isUserfaultfd(offer->faults.get()));
    EXPECT_FALSE(receiveOffer(agent.ours())) << "nothing more has come";
}

TEST(AgentOffer, IsNothingElseAndLeavesNothingOpen)
{
    const base::UniqueFd faults(tests::makeUserfaultfd()), other(::dup(0));
    const int good = faults ? faults.get() : other.get();
    const int number = 7, negative = -1;
    const char more[8] = {7};
    AgentSocket agent;
    const size_t before = openDescriptors();
    struct Case {
        const char *what;
        const void *data;
        size_t size;
        std::vector<int> fds;
    };
    const Case cases[] = {
        {"no descriptor", &number, sizeof number, {}},
        {"another kind of descriptor", &number, sizeof number, {other.get()}},
        {"two descriptors", &number, sizeof number, {good, good}},
        {"many descriptors", &number, sizeof number, std::vector<int>(100, good)},
        {"half a number", &number, 2, {good}},
        {"no number", &number, 0, {good}},
        {"more than a number", more, sizeof more, {good}},
        {"a number that no descriptor has", &negative, sizeof negative, {good}},
    };
    for (const Case &one : cases) {
        ASSERT_TRUE(agent.send(one.data, one.size, one.fds)) << one.what;
        EXPECT_FALSE(receiveOffer(agent.ours())) << one.what;
        EXPECT_EQ(openDescriptors(), before) << one.what;
    }
    agent.closeTheirs();
    EXPECT_FALSE(receiveOffer(agent.ours())) << "the end";
}

} // namespace godwit::hypervisor::machine
