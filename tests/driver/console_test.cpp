// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/driver/fake_test.h"

#include <unistd.h>

namespace godwit::tests {

class Console : public FakeHostsTest
{
protected:
    DomainHandle start(Client &client)
    {
        auto domain = client.create(domainXml("web1", "<serial type='pty'/><video><model type='vga' heads='1'/></video>"
                                                      "<channel type='file'><source path='/dev/null'/>"
                                                      "<target type='virtio' name='org.a'/></channel>"));
        EXPECT_TRUE(domain) << lastError();
        return domain;
    }
};

static StreamHandle streamOf(Client &client)
{
    return StreamHandle(virStreamNew(client, 0));
}

TEST_F(Console, CarriesBytesBothWays)
{
    Client client(root());
    auto domain = start(client);
    auto stream = streamOf(client);
    ASSERT_EQ(virDomainOpenConsole(domain.get(), nullptr, stream.get(), VIR_DOMAIN_CONSOLE_SAFE), 0) << lastError();
    ASSERT_EQ(write(machine("web1")->console(), "hello\n", 6), 6);
    char buffer[64] = {};
    ASSERT_GT(virStreamRecv(stream.get(), buffer, sizeof buffer - 1), 0) << lastError();
    EXPECT_TRUE(std::string(buffer).starts_with("hello")) << buffer;
    EXPECT_EQ(virStreamSend(stream.get(), "x\n", 2), 2);
    EXPECT_GT(read(machine("web1")->console(), buffer, sizeof buffer), 0);
    EXPECT_EQ(virStreamAbort(stream.get()), 0);
}

TEST_F(Console, IsForOneAtATimeUnlessForced)
{
    Client client(root());
    auto domain = start(client);
    auto first = streamOf(client);
    ASSERT_EQ(virDomainOpenConsole(domain.get(), "serial0", first.get(), 0), 0) << lastError();
    auto second = streamOf(client);
    EXPECT_EQ(virDomainOpenConsole(domain.get(), nullptr, second.get(), 0), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_FAILED, "connected"));
    auto third = streamOf(client);
    ASSERT_EQ(virDomainOpenConsole(domain.get(), nullptr, third.get(), VIR_DOMAIN_CONSOLE_FORCE), 0) << lastError();
    EXPECT_EQ(virStreamAbort(third.get()), 0);
    auto fourth = streamOf(client);
    ASSERT_EQ(virDomainOpenConsole(domain.get(), nullptr, fourth.get(), 0), 0) << "free again: " << lastError();
    EXPECT_EQ(virStreamAbort(fourth.get()), 0);
}

TEST_F(Console, IsRefusedWhereThereIsNone)
{
    Client client(root());
    auto domain = start(client);
    auto stream = streamOf(client);
    EXPECT_EQ(virDomainOpenConsole(domain.get(), "serial7", stream.get(), 0), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_INVALID, "serial7"));
    EXPECT_EQ(virDomainOpenChannel(domain.get(), "org.b", stream.get(), 0), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_INVALID, "org.b"));
    EXPECT_EQ(virDomainOpenChannel(domain.get(), "org.a", stream.get(), 0), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_CONFIG_UNSUPPORTED, "file"));
}

TEST_F(Console, ScreenshotIsAPicture)
{
    Client client(root());
    auto domain = start(client);
    auto stream = streamOf(client);
    EXPECT_EQ(textOf(virDomainScreenshot(domain.get(), stream.get(), 0, 0)), "image/x-portable-pixmap");
    std::string picture;
    char buffer[64];
    for (int got = 0; (got = virStreamRecv(stream.get(), buffer, sizeof buffer)) > 0;)
        picture.append(buffer, static_cast<size_t>(got));
    EXPECT_EQ(picture, "P6\n1 1\n255\nabc");
    EXPECT_EQ(virStreamFinish(stream.get()), 0) << lastError();
    auto other = streamOf(client);
    EXPECT_EQ(virDomainScreenshot(domain.get(), other.get(), 1, 0), nullptr);
    EXPECT_TRUE(failedWith(VIR_ERR_OPERATION_INVALID, "screen"));
}

TEST_F(Console, KeysAndNmiReachTheGuest)
{
    Client client(root());
    auto domain = start(client);
    unsigned keys[] = {29, 56, 111};   // Ctrl-Alt-Del
    ASSERT_EQ(virDomainSendKey(domain.get(), VIR_KEYCODE_SET_LINUX, 10, keys, 3, 0), 0) << lastError();
    EXPECT_EQ(world().count("keys"), 1u);
    unsigned unknown[] = {60000};
    EXPECT_EQ(virDomainSendKey(domain.get(), VIR_KEYCODE_SET_LINUX, 10, unknown, 1, 0), -1);
    EXPECT_TRUE(failedWith(VIR_ERR_INVALID_ARG, "60000"));
    ASSERT_EQ(virDomainInjectNMI(domain.get(), 0), 0);
    EXPECT_EQ(world().count("nmi"), 1u);
}

} // namespace godwit::tests
