// SPDX-License-Identifier: LGPL-2.1-or-later
#include "migration/data_connection.h"

#include "conf/handle.h"

#include <gtest/gtest.h>

using namespace godwit;
using migration::Endpoint;

TEST(Endpoint, ReadsNamesAddressesAndBracketedIpv6)
{
    EXPECT_EQ(Endpoint::parse("tcp://alpha:49152")->host, "alpha");
    EXPECT_EQ(Endpoint::parse("tcp://alpha:49152")->port, 49152);
    EXPECT_EQ(Endpoint::parse("tcp://10.0.0.1")->port, 0);
    EXPECT_EQ(Endpoint::parse("tcp://[2001:db8::1]:5")->host, "2001:db8::1");
    EXPECT_EQ(Endpoint::parse("tcp://[2001:db8::1]:5")->uri(), "tcp://[2001:db8::1]:5");
}

TEST(Endpoint, RefusesWhatIsNoTcpUriAndQuotesIt)
{
    for (const char *bad : {"", "alpha", "alpha:1", "unix:///run/x", "tcp://", "tcp:///x", "tcp://a:99999", "tcp://[::1"}) {
        auto endpoint = Endpoint::parse(bad);
        ASSERT_FALSE(endpoint) << bad;
        EXPECT_NE(endpoint.error().message.find(bad), std::string::npos) << endpoint.error().message;
    }
}

using PortRange = std::unique_ptr<virPortAllocatorRange, conf::FreeWith<virPortAllocatorRangeFree>>;

TEST(DataConnection, ConnectsWhereItListens)
{
    PortRange range(virPortAllocatorRangeNew("test", 40200, 40240));
    for (const char *address : {"127.0.0.1", "::1"}) {
        auto listening = migration::listenOn(address, 0, range.get());
        ASSERT_TRUE(listening) << listening.error().message;
        EXPECT_TRUE(listening->acquired);
        auto connected = migration::connectTo({address, listening->port});
        EXPECT_TRUE(connected) << connected.error().message;
        virPortAllocatorRelease(listening->port);
    }
}

TEST(DataConnection, ListensOnEveryAddressOfBothKinds)
{
    PortRange range(virPortAllocatorRangeNew("test", 40241, 40249));
    for (const char *every : {"", "::"}) {
        auto listening = migration::listenOn(every, 0, range.get());
        ASSERT_TRUE(listening) << listening.error().message;
        for (const char *address : {"127.0.0.1", "::1", "localhost"}) {
            auto connected = migration::connectTo({address, listening->port});
            EXPECT_TRUE(connected) << connected.error().message;
        }
        virPortAllocatorRelease(listening->port);
    }
}

TEST(DataConnection, NamesTheAddressThatRefuses)
{
    auto connected = migration::connectTo({"127.0.0.1", 1});
    ASSERT_FALSE(connected);
    EXPECT_NE(connected.error().message.find("tcp://127.0.0.1:1"), std::string::npos) << connected.error().message;
}

TEST(DataConnection, GivesThePortBackWhenItCannotListen)
{
    PortRange range(virPortAllocatorRangeNew("test", 40250, 40251));
    auto refused = migration::listenOn("192.0.2.1", 0, range.get());   // not an address of ours
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message.find("192.0.2.1"), std::string::npos) << refused.error().message;
    EXPECT_FALSE(migration::listenOn("no-such-name.invalid", 0, range.get()));
    auto listening = migration::listenOn("127.0.0.1", 0, range.get());
    ASSERT_TRUE(listening) << listening.error().message;
    virPortAllocatorRelease(listening->port);
}
