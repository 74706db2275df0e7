// SPDX-License-Identifier: LGPL-2.1-or-later
#include "channel/tls.h"

#include "channel/admission.h"
#include "tests/channel/certificates.h"

#include <fstream>
#include <future>
#include <gtest/gtest.h>
#include <sys/socket.h>

using namespace godwit::base;
using namespace godwit::channel;
using namespace std::chrono_literals;
using godwit::tests::Certificates;

namespace {

using Credentials = std::unique_ptr<TlsCredentials>;

Result<Credentials> loadFor(Side side, const Certificates &from, const std::string &peer = "localhost",
                            bool verifyPeer = true)
{
    return TlsCredentials::load(side, {from.directory(), verifyPeer, peer});
}

/// Both ends of one connection.
struct Ends {
    Ends(const TlsCredentials &source, const TlsCredentials &destination)
    {
        int fds[2];
        EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        here = TlsSocket::make(UniqueFd(fds[0]), source).value();
        there = TlsSocket::make(UniqueFd(fds[1]), destination).value();
    }
    /// What each side says of the handshake. In TLS 1.3 a source has finished before its own
    /// certificate is looked at: it is told when it reads.
    std::pair<std::string, std::string> handshake()
    {
        auto other = std::async(std::launch::async, [this] {
            auto done = there->handshake(Clock::now() + 60s);
            const std::byte ok{1};
            if (done)
                done = sendAll(*there, {&ok, 1}, Clock::now() + 60s);
            ::shutdown(there->fd(), SHUT_WR);
            return done;
        });
        auto done = here->handshake(Clock::now() + 60s);
        if (done) {
            std::byte answer{};
            const auto got = receiveAll(*here, {&answer, 1}, Clock::now() + 60s);
            done = got ? (*got ? Result<void>() : makeError(ErrorCode::OperationFailed, "closed")) : got.error();
        }
        ::shutdown(here->fd(), SHUT_WR);
        const auto theirs = other.get();
        return {done ? "" : done.error().message, theirs ? "" : theirs.error().message};
    }
    std::unique_ptr<TlsSocket> here, there;
};

std::pair<std::string, std::string> tryHandshake(const Certificates &source, const Certificates &destination,
                                                 const std::string &name = "localhost", bool verify = true)
{
    const auto ours = loadFor(Side::Source, source, name), theirs = loadFor(Side::Destination, destination, "", verify);
    EXPECT_TRUE(ours) << ours.error().message;
    EXPECT_TRUE(theirs) << theirs.error().message;
    return Ends(**ours, **theirs).handshake();
}

} // namespace

TEST(Tls, CarriesMuchBothWays)
{
    const Certificates files;
    const auto source = loadFor(Side::Source, files), destination = loadFor(Side::Destination, files);
    Ends ends(**source, **destination);
    EXPECT_EQ(ends.handshake(), std::pair(std::string(), std::string()));
    Ends other(**source, **destination);
    auto reader = std::async(std::launch::async, [&] {
        std::vector<std::byte> got(3 * 1024 * 1024 + 17);
        EXPECT_TRUE(other.there->handshake(Clock::now() + 60s));
        EXPECT_TRUE(receiveAll(*other.there, got, Clock::now() + 60s).value_or(false));
        return got;
    });
    std::vector<std::byte> data(3 * 1024 * 1024 + 17);
    for (size_t i = 0; i < data.size(); i++)
        data[i] = static_cast<std::byte>(i * 2654435761u >> 13);
    ASSERT_TRUE(other.here->handshake(Clock::now() + 60s));
    const Interrupt interrupt;
    OutcomeReader outcome(*other.here);
    ChannelSink sink(*other.here, 0, outcome, interrupt);
    iovec parts[] = {godwit::stream::part(data.data(), 16), godwit::stream::part(data.data() + 16, 100000),
                     godwit::stream::part(data.data() + 100016, data.size() - 100016)};
    EXPECT_TRUE(sink.write(parts));
    EXPECT_EQ(reader.get(), data);
    sendOutcomeAtOnce(*other.there, "the emulator has ended");
    EXPECT_EQ(outcome.await().error().message, "destination: the emulator has ended");
}

TEST(Tls, RefusesACertificateOfAnotherHost)
{
    const Certificates files;
    const auto [here, there] = tryHandshake(files, files, "elsewhere");
    EXPECT_NE(here.find("TLS with 'elsewhere'"), here.npos) << here;
    EXPECT_NE(here.find("name"), here.npos) << here;
    EXPECT_FALSE(there.empty());
}

TEST(Tls, RefusesAnExpiredCertificate)
{
    const Certificates expired({.serverEnds = ::time(nullptr) - 60});
    const auto [here, there] = tryHandshake(expired, expired);
    EXPECT_NE(here.find("expired"), here.npos) << here;
    EXPECT_FALSE(there.empty());
}

TEST(Tls, RefusesACertificateOfAnUnknownAuthority)
{
    const Certificates ours, theirs;
    const auto [here, there] = tryHandshake(ours, theirs);
    EXPECT_NE(here.find("NOT trusted"), here.npos) << here;
    EXPECT_FALSE(there.empty());
}

TEST(Tls, RefusesASourceWithoutACertificateUnlessItNeedsNone)
{
    const Certificates files, bare;
    bare.remove("client-cert.pem");
    bare.remove("client-key.pem");
    std::ifstream authority(files.directory() + "/ca-cert.pem");
    bare.replace("ca-cert.pem", std::string(std::istreambuf_iterator<char>(authority), {}));
    const auto [here, there] = tryHandshake(bare, files);
    EXPECT_NE(here.find("TLS with 'localhost'"), here.npos) << here;
    EXPECT_FALSE(there.empty());
    EXPECT_EQ(tryHandshake(bare, files, "localhost", false), std::pair(std::string(), std::string()));
}

TEST(Tls, NamesAMissingOrBrokenFile)
{
    for (const char *file : {"ca-cert.pem", "server-cert.pem", "server-key.pem"}) {
        const Certificates files;
        files.replace(file, "garbage");
        EXPECT_FALSE(loadFor(Side::Destination, files)) << file;
        files.remove(file);
        const auto loaded = loadFor(Side::Destination, files);
        ASSERT_FALSE(loaded);
        EXPECT_EQ(loaded.error().message,
                  "TLS: cannot read '" + files.directory() + "/" + file + "': No such file or directory");
    }
    const Certificates files;
    files.remove("client-key.pem");
    EXPECT_NE(loadFor(Side::Source, files).error().message.find("client-key.pem"), std::string::npos);
}

TEST(Tls, RefusesAPeerThatSpeaksInTheClear)
{
    const Certificates files;
    const auto source = loadFor(Side::Source, files), destination = loadFor(Side::Destination, files);
    Ends ends(**source, **destination);
    const std::string words(200, 'g');
    ASSERT_EQ(::send(ends.there->fd(), words.data(), words.size(), 0), 200);
    EXPECT_FALSE(ends.here->handshake(Clock::now() + 60s));
    Ends others(**source, **destination);
    ASSERT_EQ(::send(others.here->fd(), words.data(), words.size(), 0), 200);
    EXPECT_FALSE(others.there->handshake(Clock::now() + 60s));
}

TEST(Tls, GivesUpASilentPeer)
{
    const Certificates files;
    const auto source = loadFor(Side::Source, files), destination = loadFor(Side::Destination, files);
    EXPECT_EQ(Ends(**source, **destination).here->handshake(Clock::now() + 10ms).error().code, ErrorCode::TimedOut);
}
