// SPDX-License-Identifier: LGPL-2.1-or-later
//
// The monitor's client against a server that misbehaves in every way we could think of.
#include "hypervisor/machine/qmp.h"
#include "tests/hypervisor/machine_host.h"

#include <atomic>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

namespace godwit::hypervisor::machine {
namespace {

using base::ErrorCode;
using base::Result;
using base::UniqueFd;
using std::chrono::milliseconds;

constexpr const char *greeting = "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n";

/// The emulator's side: a script in a thread of its own.
class FakeEmulator
{
public:
    FakeEmulator()
    {
        int ends[2];
        EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        ours_.reset(ends[0]);
        theirs_.reset(ends[1]);
    }
    ~FakeEmulator()
    {
        if (thread_.joinable())
            thread_.join();
    }
    UniqueFd client() { return std::move(theirs_); }
    void run(std::function<void(FakeEmulator &)> script)
    {
        thread_ = std::thread([this, script = std::move(script)] {
            script(*this);
            ours_.reset();
        });
    }

    void say(const std::string &text)
    {
        for (size_t at = 0; at < text.size();) {
            const ssize_t sent = ::send(ours_.get(), text.data() + at, text.size() - at, MSG_NOSIGNAL);
            if (sent <= 0)
                return;
            at += static_cast<size_t>(sent);
        }
    }
    /// The next line that came in; empty when the client is gone.
    std::string hear()
    {
        for (;;) {
            const size_t end = heard_.find('\n');
            if (end != std::string::npos) {
                const std::string line = heard_.substr(0, end);
                heard_.erase(0, end + 1);
                return line;
            }
            char chunk[4096];
            alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
            iovec part{chunk, sizeof chunk};
            msghdr message{};
            message.msg_iov = &part;
            message.msg_iovlen = 1;
            message.msg_control = control;
            message.msg_controllen = sizeof control;
            const ssize_t got = ::recvmsg(ours_.get(), &message, MSG_CMSG_CLOEXEC);
            if (got <= 0)
                return "";
            if (const cmsghdr *header = CMSG_FIRSTHDR(&message)) {
                int fd = -1;
                memcpy(&fd, CMSG_DATA(header), sizeof fd);
                fd_.reset(fd);
            }
            heard_.append(chunk, static_cast<size_t>(got));
        }
    }
    /// Answer the command just heard.
    void answer(const std::string &line, const std::string &value = "\"return\": {}")
    {
        say("{" + value + ", \"id\": " + std::to_string(Json::parse(line)->operator[]("id").integer().value_or(0)) + "}\r\n");
    }
    void welcome()
    {
        say(greeting);
        answer(hear());
    }
    int fd() const { return fd_.get(); }

private:
    UniqueFd ours_, theirs_, fd_;
    std::string heard_;
    std::thread thread_;
};

class QmpTest : public testing::Test
{
protected:
    ~QmpTest() override
    {
        if (qmp_)
            qmp_->detach();
        loop_->close();
    }
    Result<void> open(std::function<void(FakeEmulator &)> script, milliseconds timeout = milliseconds(60000))
    {
        emulator_.run(std::move(script));
        QmpListener listener;
        listener.event = [this](const std::string &name, const Json &) {
            std::lock_guard lock(mutex_);
            events_.push_back(name);
        };
        listener.closed = [this](const base::Error &) {
            std::lock_guard lock(mutex_);
            closed_++;
        };
        qmp_ = TRY(Qmp::open(loop_, emulator_.client(), "web1", std::move(listener), timeout));
        return {};
    }
    size_t events()
    {
        std::lock_guard lock(mutex_);
        return events_.size();
    }
    int closed()
    {
        std::lock_guard lock(mutex_);
        return closed_;
    }

    EventThread thread_;
    std::shared_ptr<EventLoop> loop_ = EventLoop::open(thread_.context());
    std::mutex mutex_;
    std::vector<std::string> events_;
    int closed_ = 0;
    std::atomic<bool> done_{false};
    std::shared_ptr<Qmp> qmp_;
    FakeEmulator emulator_;
};

TEST_F(QmpTest, NegotiatesAndCalls)
{
    std::string heard;
    ASSERT_TRUE(open([&](FakeEmulator &emulator) {
        emulator.welcome();
        heard = emulator.hear();
        emulator.answer(heard, "\"return\": {\"status\": \"running\", \"deep\": {\"n\": 7}}");
        emulator.hear();
    }));
    auto answer = qmp_->call("query-status", Json::object({{"all", true}}));
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ((*answer)["status"].string(), "running");
    EXPECT_EQ((*answer)["deep.n"].integer(), 7);
    EXPECT_FALSE((*answer)["deep.m"]);
    EXPECT_FALSE((*answer)["status.x"]);
    const auto command = Json::parse(heard);
    ASSERT_TRUE(command);
    EXPECT_EQ((*command)["execute"].string(), "query-status");
    EXPECT_EQ((*command)["arguments.all"].boolean(), true);
}

TEST_F(QmpTest, AnErrorIsTheEmulatorsWords)
{
    ASSERT_TRUE(open([](FakeEmulator &emulator) {
        emulator.welcome();
        emulator.answer(emulator.hear(), "\"error\": {\"class\": \"GenericError\", \"desc\": \"no such thing\"}");
        emulator.answer(emulator.hear());
        emulator.hear();
    }));
    auto refused = qmp_->call("frobnicate");
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message.find("no such thing"), std::string::npos);
    EXPECT_TRUE(qmp_->call("query-status"));
}

TEST_F(QmpTest, LinesMayComeInPieces)
{
    ASSERT_TRUE(open([](FakeEmulator &emulator) {
        emulator.welcome();
        const auto command = Json::parse(emulator.hear());
        const std::string answer = "{\"event\": \"STOP\"}\n{\"return\": {\"text\": \"" + std::string(100000, 'x') +
                                   "\"}, \"id\": " + std::to_string(*(*command)["id"].integer()) + "}\r\n";
        emulator.say(answer.substr(0, 1));
        for (size_t at = 1; at < answer.size(); at += 997) {
            std::this_thread::sleep_for(std::chrono::microseconds(100));
            emulator.say(answer.substr(at, 997));
        }
        emulator.hear();
    }));
    auto answer = qmp_->call("query-status");
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ((*answer)["text"].string()->size(), 100000u);
    EXPECT_EQ(events(), 1u);
}

TEST_F(QmpTest, AStormOfEventsDelaysNoAnswer)
{
    constexpr size_t storm = 20000;
    ASSERT_TRUE(open([](FakeEmulator &emulator) {
        emulator.welcome();
        const std::string command = emulator.hear();
        std::string text;
        for (size_t i = 0; i < storm; i++)
            text += "{\"event\": \"RTC_CHANGE\", \"data\": {\"offset\": 1}, \"timestamp\": {}}\r\n";
        emulator.say(text);
        emulator.answer(command);
        emulator.hear();
    }));
    ASSERT_TRUE(qmp_->call("query-status"));
    EXPECT_EQ(events(), storm);
}

TEST_F(QmpTest, ADeadEmulatorWakesEveryoneWhoWaits)
{
    ASSERT_TRUE(open([](FakeEmulator &emulator) {
        emulator.welcome();
        for (int i = 0; i < 3; i++)
            emulator.hear();
        emulator.say("{\"return\": {\"cut in the mid");
    }));
    std::vector<std::thread> callers;
    std::atomic<int> named{0};
    for (int i = 0; i < 3; i++) {
        callers.emplace_back([&] {
            const auto answer = qmp_->call("query-status");
            if (!answer && answer.error().message.find("'web1'") != std::string::npos)
                named++;
        });
    }
    for (std::thread &caller : callers)
        caller.join();
    EXPECT_EQ(named, 3);
    EXPECT_TRUE(eventually([this] { return closed() == 1; }));
    EXPECT_FALSE(qmp_->call("query-status"));
    EXPECT_EQ(closed(), 1);
}

TEST_F(QmpTest, WhatWasSaidBeforeTheEndIsHeard)
{
    ASSERT_TRUE(open([](FakeEmulator &emulator) {
        emulator.welcome();
        emulator.say("{\"event\": \"SHUTDOWN\", \"data\": {}}\r\n");
    }));
    EXPECT_TRUE(eventually([this] { return closed() == 1; }));
    EXPECT_EQ(events(), 1u);
}

TEST_F(QmpTest, SilenceEndsInTime)
{
    ASSERT_TRUE(open([](FakeEmulator &emulator) {
        emulator.welcome();
        const std::string first = emulator.hear();
        const std::string second = emulator.hear();
        // Too late for the first caller, who must not get the second one's answer either.
        emulator.answer(first, "\"return\": {\"n\": 1}");
        emulator.answer(second, "\"return\": {\"n\": 2}");
        emulator.hear();
    }));
    auto late = qmp_->call("query-status", {}, -1, milliseconds(50));
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code, ErrorCode::TimedOut);
    auto answer = qmp_->call("query-status");
    ASSERT_TRUE(answer);
    EXPECT_EQ((*answer)["n"].integer(), 2);
}

TEST_F(QmpTest, AnFdTravelsWithItsCommand)
{
    int received = -1;
    ASSERT_TRUE(open([&](FakeEmulator &emulator) {
        emulator.welcome();
        const std::string command = emulator.hear();
        received = emulator.fd();
        if (received >= 0)
            (void)!::write(received, "x", 1);
        emulator.answer(command);
        emulator.hear();
    }));
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    const UniqueFd readEnd(ends[0]), writeEnd(ends[1]);
    ASSERT_TRUE(qmp_->call("getfd", Json::object({{"fdname", "x"}}), writeEnd.get()));
    EXPECT_GE(received, 0);
    char byte = 0;
    EXPECT_EQ(::read(readEnd.get(), &byte, 1), 1);
}

struct Nonsense {
    const char *name;
    std::string text;
};

void PrintTo(const Nonsense &nonsense, std::ostream *out)
{
    *out << nonsense.name;
}

class QmpNonsense : public QmpTest, public testing::WithParamInterface<Nonsense>
{
};

TEST_P(QmpNonsense, InPlaceOfAGreetingFailsToOpen)
{
    auto opened = open([](FakeEmulator &emulator) {
        emulator.say(GetParam().text);
        emulator.hear();
    }, milliseconds(300));
    EXPECT_FALSE(opened);
}

TEST_P(QmpNonsense, AfterwardsNeverStaysUnnoticed)
{
    ASSERT_TRUE(open([](FakeEmulator &emulator) {
        emulator.welcome();
        emulator.hear();
        emulator.say(GetParam().text);
        emulator.hear();
    }));
    EXPECT_FALSE(qmp_->call("query-status", {}, -1, milliseconds(300)));
}

INSTANTIATE_TEST_SUITE_P(Kinds, QmpNonsense, testing::Values(
    Nonsense{"Nothing", ""}, Nonsense{"NoJson", "hello\r\n"}, Nonsense{"NoObject", "[1, 2]\r\n"},
    Nonsense{"Number", "1\n"}, Nonsense{"EmptyLines", "\r\n\r\n\n"},
    Nonsense{"Unbalanced", "{\"return\": {}\r\n"}, Nonsense{"Deep", std::string(100000, '[') + "\r\n"},
    Nonsense{"DeepObjects", [] { std::string s; for (int i = 0; i < 10000; i++) s += "{\"a\":"; return s + "\n"; }()},
    Nonsense{"Nul", std::string("{\"return\": \0}\r\n", 15)}, Nonsense{"UnknownMessage", "{\"hello\": 1}\r\n"},
    Nonsense{"ForeignAnswer", "{\"return\": {}, \"id\": 4711}\r\n"},
    Nonsense{"AnswerWithTextId", "{\"return\": {}, \"id\": \"1\"}\r\n"}),
    [](const auto &test) { return std::string(test.param.name); });

TEST_F(QmpTest, ALineWithoutEndIsCutOff)
{
    auto opened = open([](FakeEmulator &emulator) {
        emulator.welcome();
        const std::string piece(1 << 20, 'x');
        for (size_t sent = 0; sent <= Qmp::maxLine; sent += piece.size())
            emulator.say(piece);
        emulator.hear();
    });
    ASSERT_TRUE(opened);
    EXPECT_TRUE(eventually([this] { return closed() == 1; }));
}

TEST_F(QmpTest, AnEmulatorThatDoesNotReadIsNotFedWithoutLimit)
{
    ASSERT_TRUE(open([this](FakeEmulator &emulator) {
        emulator.welcome();
        eventually([this] { return done_.load(); });
    }));
    std::atomic<size_t> refused{0};
    loop_->post([&] {
        for (size_t i = 0; i < Qmp::maxPending + 10; i++) {
            qmp_->submit("query-status", {}, [&](Result<Json> result) {
                if (!result)
                    refused++;
            });
        }
    });
    EXPECT_TRUE(eventually([&] { return refused >= 10; }));
    done_ = true;
    EXPECT_TRUE(eventually([&] { return refused == Qmp::maxPending + 10; }));
}

TEST_F(QmpTest, ADetachedConnectionTellsNothing)
{
    ASSERT_TRUE(open([](FakeEmulator &emulator) {
        emulator.welcome();
        emulator.hear();
    }));
    qmp_->detach();
    EXPECT_FALSE(qmp_->call("query-status"));
    EXPECT_EQ(closed(), 0);
}

// ---- JSON -------------------------------------------------------------------------------

TEST(JsonValue, IsWhatItIsAndNothingElse)
{
    const auto value = Json::parse("{\"n\": 1, \"d\": 1.5, \"b\": true, \"s\": \"x\", \"z\": null, \"a\": [1, \"2\"]}");
    ASSERT_TRUE(value);
    EXPECT_EQ((*value)["n"].integer(), 1);
    EXPECT_EQ((*value)["n"].number(), 1.0);
    EXPECT_EQ((*value)["d"].number(), 1.5);
    EXPECT_FALSE((*value)["d"].integer());
    EXPECT_FALSE((*value)["b"].integer());
    EXPECT_EQ((*value)["b"].boolean(), true);
    EXPECT_FALSE((*value)["s"].boolean());
    EXPECT_FALSE((*value)["z"]);
    EXPECT_FALSE((*value)["none"].string());
    EXPECT_EQ((*value)["a"].elements().size(), 2u);
    EXPECT_TRUE((*value)["s"].elements().empty());
}

TEST(JsonValue, IsNotWhatOnlyItsParserTakes)
{
    const std::string deep(100000, '[');
    for (const std::string &text : {deep, "/*\"*/" + deep, "//\"\n" + deep, "#\"\n" + deep, "'\"'" + deep, "{\"a\": '\"'" + deep,
                                    std::string("{} {}"), std::string("[]1"), std::string("7{}"), std::string("7"), std::string("\"{\""), std::string("{\"a\": 1}{"), std::string("{}\0", 3)})
        EXPECT_FALSE(Json::parse(text)) << text.substr(0, 20);
    EXPECT_TRUE(Json::parse(" {\"a/'#\": \"/*'#\"} \r"));
}

TEST(JsonValue, LeavesOutMembersThatAreNothing)
{
    EXPECT_EQ(Json::object({{"a", 1}, {"b", Json()}}).text(), "{\"a\":1}");
    EXPECT_EQ(Json::array({1, "two", false}).text(), "[1,\"two\",false]");
}

} // namespace
} // namespace godwit::hypervisor::machine
