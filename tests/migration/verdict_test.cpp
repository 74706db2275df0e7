// SPDX-License-Identifier: LGPL-2.1-or-later
#include "migration/data_connection.h"
#include "migration/verdict.h"
#include "migration/witness.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <thread>

namespace godwit::migration {

static const std::string secret(64, 'a'), otherSecret(64, 'b');

TEST(Verdict, QuestionsAndAnswersGoThereAndBack)
{
    for (Question question : {Question::WhatBecameOfIt, Question::Settled}) {
        const auto bytes = encodeQuestion(question, secret);
        ASSERT_TRUE(bytes);
        EXPECT_EQ(decodeQuestion(*bytes, secret), question);
        for (Verdict verdict : {Verdict::Started, Verdict::Ended})
            EXPECT_EQ(decodeAnswer(encodeAnswer(verdict, *bytes, secret), *bytes, secret), verdict);
    }
}

TEST(Verdict, NoByteMayBeChanged)
{
    const QuestionBytes question = encodeQuestion(Question::WhatBecameOfIt, secret).value();
    const AnswerBytes answer = encodeAnswer(Verdict::Ended, question, secret);
    for (size_t at = 0; at < questionSize; at++) {
        QuestionBytes changed = question;
        changed[at] ^= std::byte{1};
        EXPECT_FALSE(decodeQuestion(changed, secret)) << at;
        EXPECT_FALSE(decodeAnswer(answer, changed, secret)) << "an answer to another question, " << at;
    }
    for (size_t at = 0; at < answerSize; at++) {
        AnswerBytes changed = answer;
        changed[at] ^= std::byte{1};
        EXPECT_FALSE(decodeAnswer(changed, question, secret)) << at;
    }
    EXPECT_FALSE(decodeQuestion(question, otherSecret));
    EXPECT_FALSE(decodeAnswer(answer, question, otherSecret));
}

TEST(Verdict, NoQuestionIsAskedTwice)
{
    EXPECT_NE(encodeQuestion(Question::Settled, secret).value(), encodeQuestion(Question::Settled, secret).value());
}

class WitnessTest : public testing::Test
{
protected:
    WitnessTest()
    {
        auto range = virPortAllocatorRangeNew("test", 20000, 40000);
        auto listening = listenOn("127.0.0.1", 0, range);
        EXPECT_TRUE(listening) << listening.error().message;
        virPortAllocatorRangeFree(range);
        link = {"127.0.0.1", listening->port, secret};
        path = directory + "/witness/record";
        witness = std::make_shared<Witness>(std::move(listening->fd), link, true, path);
    }
    ~WitnessTest() override { std::filesystem::remove_all(directory); }

    std::string directory = (std::filesystem::temp_directory_path() / ("witness." + std::to_string(getpid()))).string();
    std::string path;
    domain::Background background;
    domain::MigrationLink link;
    std::shared_ptr<Witness> witness;
};

TEST_F(WitnessTest, TellsWhoKnowsTheSecretWhatBecameOfTheGuest)
{
    witness->testify(Verdict::Started, background);
    witness.reset();
    for (int i = 0; i < 2; i++) {
        const auto told = ask(link);
        ASSERT_TRUE(told) << told.error().message;
        EXPECT_EQ(*told, Verdict::Started);
    }
    domain::MigrationLink stranger = link;
    stranger.secret = otherSecret;
    EXPECT_FALSE(ask(stranger));
}

TEST_F(WitnessTest, MakesWhoAsksTooEarlyWait)
{
    base::Result<Verdict> told = base::makeError(base::ErrorCode::Internal, "not asked");
    std::thread asking([&] { told = ask(link); });
    // Somebody else before, who says nothing useful, and one who has nothing to say.
    const base::UniqueFd silent = connectTo(Endpoint{link.address, link.port}).value();
    { const base::UniqueFd gone = connectTo(Endpoint{link.address, link.port}).value(); }
    witness->testify(Verdict::Ended, background);
    witness.reset();
    asking.join();
    ASSERT_TRUE(told) << told.error().message;
    EXPECT_EQ(*told, Verdict::Ended);
}

TEST_F(WitnessTest, IsNotWaitedForByAHostThatEnds)
{
    background.stop();
    const auto told = ask(link, background.stopFd());
    ASSERT_FALSE(told);
    EXPECT_EQ(told.error().code, base::ErrorCode::Aborted);
}

TEST_F(WitnessTest, EndsWhenAllIsSettled)
{
    witness->testify(Verdict::Ended, background);
    std::weak_ptr<Witness> left = witness;
    witness.reset();
    domain::MigrationLink stranger = link;
    stranger.secret = otherSecret;
    dismiss(stranger);
    ASSERT_TRUE(ask(link)) << "a stranger cannot send it away";
    dismiss(link);
    for (int i = 0; i < 6000 && !left.expired(); i++)
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_TRUE(left.expired());
    EXPECT_FALSE(ask(link));
    EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(WitnessTest, LeavesItsRecordToTheNextProcess)
{
    witness->record(Verdict::Started);
    witness->testify(Verdict::Ended, background);
    EXPECT_EQ(std::filesystem::status(path).permissions(),
              std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
    background.stop();
    witness.reset();
    const auto left = readRecord(path);
    ASSERT_TRUE(left) << left.error().message;
    EXPECT_EQ(left->verdict, Verdict::Ended);
    EXPECT_EQ(left->here.address, link.address);
    EXPECT_EQ(left->here.port, link.port);
    EXPECT_EQ(left->here.secret, secret);
    EXPECT_GT(left->until, std::chrono::system_clock::now());
}

TEST_F(WitnessTest, LeavesNoRecordWhenNobodyWillAsk)
{
    witness->record(Verdict::Ended);
    EXPECT_TRUE(std::filesystem::exists(path));
    witness.reset();
    EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(WitnessTest, ARecordThatIsNoneIsRefused)
{
    witness->record(Verdict::Started);
    std::ifstream in(path);
    const std::string good((std::istreambuf_iterator<char>(in)), {});
    ASSERT_TRUE(readRecord(path));
    const auto refuses = [&](const std::string &text) {
        std::ofstream(path) << text;
        return !readRecord(path);
    };
    EXPECT_TRUE(refuses(""));
    EXPECT_TRUE(refuses("no key file"));
    for (const char *line : {"port=", "secret=", "verdict=", "until="}) {
        const size_t at = good.find(line), end = good.find('\n', at);
        const bool mayBeMissing = std::string_view(line) == "until=";
        EXPECT_EQ(refuses(good.substr(0, at) + good.substr(end + 1)), !mayBeMissing) << line << " is missing";
        if (std::string_view(line) == "secret=")
            continue;
        for (const char *value : {"-1", mayBeMissing ? "1790000090000000" : "70000"})
            EXPECT_TRUE(refuses(good.substr(0, at) + line + value + good.substr(end))) << line << value;
    }
    EXPECT_FALSE(readRecord(path + ".absent"));
}

TEST_F(WitnessTest, EndsWithItsHost)
{
    witness->testify(Verdict::Ended, background);
    background.stop();
    EXPECT_FALSE(connectTo(Endpoint{"127.0.0.1", 1}));
    EXPECT_EQ(witness.use_count(), 1);
}

} // namespace godwit::migration
