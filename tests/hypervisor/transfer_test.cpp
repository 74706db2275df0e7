// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Real guests, saved, received and migrated by the real helper: they count, and must go on
// counting where they were.
#include "base/strprintf.h"
#include "tests/hypervisor/machine_host.h"

#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <future>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace godwit::hypervisor::machine {
namespace {

using base::ErrorCode;
using base::Result;
using base::UniqueFd;

constexpr const char *secret = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

class TransferTest : public testing::Test
{
protected:
    void SetUp() override
    {
        def_ = host_.define("one", Program::Count);
        ASSERT_TRUE(def_);
        guest_ = host_.create("one", def_.get(), journal_);
        ASSERT_TRUE(guest_);
        ASSERT_TRUE(guest_->unpause());
        ASSERT_TRUE(host_.countsOn("one"));
    }
    void TearDown() override
    {
        for (const auto &guest : {guest_, copy_}) {
            if (guest) {
                EXPECT_TRUE(guest->destroy(false));
            }
        }
    }

    std::string imagePath() const { return host_.dir() + "/image"; }
    UniqueFd openImage(int flags) const
    {
        return UniqueFd(::open(imagePath().c_str(), flags | O_CLOEXEC, 0600));
    }
    Result<TransferProgress> saveToFile(bool live)
    {
        SaveRequest request;
        request.stream = openImage(O_RDWR | O_CREAT | O_TRUNC);
        request.live = live;
        return guest_->save(std::move(request));
    }

    /// Into /dev/full.
    static SaveRequest failingSave(bool live)
    {
        SaveRequest request;
        request.stream.reset(::open("/dev/full", O_WRONLY | O_CLOEXEC));
        request.kind = StreamKind::Plain;
        request.live = live;
        return request;
    }
    /// Into a pipe that nobody reads: it goes on until something ends it.
    SaveRequest endlessSave()
    {
        int ends[2];
        EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
        unread_.reset(ends[0]);
        SaveRequest request;
        request.stream.reset(ends[1]);
        request.kind = StreamKind::Plain;
        request.live = true;
        return request;
    }

    /// The same guest under another name; its serial port goes to a file of its own.
    ReceiveRequest copyRequest()
    {
        copyDef_ = host_.define("copy", Program::Count);
        ReceiveRequest request;
        request.guest = host_.request("copy", copyDef_.get(), copyJournal_);
        return request;
    }
    Result<TransferProgress> receiveFromFile()
    {
        ReceiveRequest request = copyRequest();
        request.stream = openImage(O_RDONLY);
        auto guest = host_.hypervisor().receive(std::move(request));
        if (!guest)
            return guest.error();
        copy_ = *guest;
        return copy_->finishReceiving(nullptr);
    }
    /// The copy's first number follows the original's last (a byte or two may be in flight).
    void expectCopyGoesOn()
    {
        ASSERT_TRUE(copy_->unpause());
        ASSERT_TRUE(host_.countsOn("copy", 5));
        const auto before = host_.numbers("one");
        // The UART may have stood between the two bytes of a number: then all are shifted.
        const std::string text = readText(host_.serialPath("one")) + readText(host_.serialPath("copy"));
        for (size_t i = 1; i + 1 < text.size() / 2; i++) {
            const auto number = [&](size_t at) {
                return static_cast<uint16_t>(static_cast<uint8_t>(text[2 * at]) | static_cast<uint8_t>(text[2 * at + 1]) << 8);
            };
            ASSERT_EQ(number(i), static_cast<uint16_t>(number(i - 1) + 1)) << "after " << before.size() << " at " << i;
        }
    }
    void expectGuestGoesOn()
    {
        EXPECT_TRUE(guest_->running());
        EXPECT_TRUE(host_.countsOn("one"));
        // Nothing of the operation is left over: the next one works.
        auto saved = saveToFile(true);
        EXPECT_TRUE(saved) << saved.error().message;
    }

    MachineHost host_;
    std::shared_ptr<Journal> journal_ = std::make_shared<Journal>();
    std::shared_ptr<Journal> copyJournal_ = std::make_shared<Journal>();
    conf::DomainDef def_, copyDef_;
    std::shared_ptr<Guest> guest_, copy_;
    UniqueFd unread_;
};

class SavedGuest : public TransferTest, public testing::WithParamInterface<bool>
{
};

TEST_P(SavedGuest, GoesOnWhereItWas)
{
    const auto begin = std::chrono::steady_clock::now();
    auto saved = saveToFile(GetParam());
    const auto took = std::chrono::steady_clock::now() - begin;
    ASSERT_TRUE(saved) << saved.error().message;
    EXPECT_FALSE(guest_->running());
    EXPECT_GT(saved->bytesSent, 0u);
    EXPECT_EQ(saved->memoryTotal, 32u << 20);
    EXPECT_TRUE(journal_->waitFor("paused saving"));
    EXPECT_LE(std::chrono::milliseconds(saved->downtime), took);

    auto received = receiveFromFile();
    ASSERT_TRUE(received) << received.error().message;
    EXPECT_FALSE(copy_->running());
    expectCopyGoesOn();
    EXPECT_EQ(copyJournal_->count("running"), 1u);
}

INSTANTIATE_TEST_SUITE_P(HowSaved, SavedGuest, testing::Bool(),
                         [](const auto &test) { return test.param ? "Live" : "Stopped"; });

TEST_F(TransferTest, ASavedGuestIsResumedFast)
{
    ASSERT_TRUE(saveToFile(true));
    EXPECT_FALSE(guest_->running());
    const auto slowly = guest_->resume(ResumeMode::Slow);
    ASSERT_FALSE(slowly);
    EXPECT_EQ(slowly.error().code, ErrorCode::Unsupported);
    EXPECT_FALSE(guest_->running()) << "a refusal changes nothing";
    auto resumed = guest_->resume(ResumeMode::Fast);
    ASSERT_TRUE(resumed) << resumed.error().message;
    expectGuestGoesOn();
}

TEST_F(TransferTest, APausedGuestStaysPaused)
{
    ASSERT_TRUE(guest_->pause(StopCause::User));
    const size_t written = host_.numbers("one").size();
    ASSERT_TRUE(saveToFile(false));
    EXPECT_FALSE(guest_->running());
    // QEMU has a finished migration behind it now, and would have to run to get past it.
    auto again = saveToFile(false);
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code, ErrorCode::OperationInvalid);
    EXPECT_EQ(host_.numbers("one").size(), written);
    ASSERT_TRUE(guest_->unpause());
    expectGuestGoesOn();
}

TEST_F(TransferTest, AGuestThatNeverRanCanBeMoved)
{
    ASSERT_TRUE(guest_->destroy(false));
    guest_ = host_.create("one", def_.get(), journal_);
    ASSERT_TRUE(guest_);
    ASSERT_TRUE(saveToFile(false));
    auto received = receiveFromFile();
    ASSERT_TRUE(received) << received.error().message;
    ASSERT_TRUE(copy_->unpause());
    EXPECT_TRUE(host_.countsOn("copy"));
}

// ---- failures: the guest goes on ---------------------------------------------------------

TEST_F(TransferTest, AFullDiskLeavesTheGuestRunning)
{
    auto saved = guest_->save(failingSave(true));
    ASSERT_FALSE(saved);
    EXPECT_NE(saved.error().message.find("No space left"), std::string::npos) << saved.error().message;
    expectGuestGoesOn();
}

TEST_F(TransferTest, AFullDiskAfterTheStopResumesTheGuest)
{
    auto saved = guest_->save(failingSave(false));
    ASSERT_FALSE(saved);
    expectGuestGoesOn();
}

TEST_F(TransferTest, AFailureLeavesAPausedGuestPaused)
{
    ASSERT_TRUE(guest_->pause(StopCause::User));
    ASSERT_FALSE(guest_->save(failingSave(false)));
    EXPECT_FALSE(guest_->running());
    ASSERT_TRUE(saveToFile(false));
}

TEST_F(TransferTest, AHelperThatCannotRunIsNamed)
{
    ASSERT_TRUE(guest_->destroy(false));
    guest_.reset();
    host_.setHelper("/nonexistent/godwit-helper");
    guest_ = host_.create("one", def_.get(), journal_);
    ASSERT_TRUE(guest_ && guest_->unpause());
    auto saved = saveToFile(true);
    ASSERT_FALSE(saved);
    EXPECT_NE(saved.error().message.find("/nonexistent/godwit-helper"), std::string::npos) << saved.error().message;
    EXPECT_TRUE(guest_->running());
    EXPECT_TRUE(host_.countsOn("one"));
}

TEST_F(TransferTest, AHelperThatDiesIsReportedWithItsStatus)
{
    ASSERT_TRUE(guest_->destroy(false));
    guest_.reset();
    const std::string helper = host_.dir() + "/helper";
    std::ofstream(helper) << "#!/bin/sh\necho its last words >&2\nexit 3\n";
    std::filesystem::permissions(helper, std::filesystem::perms::owner_all);
    host_.setHelper(helper);
    guest_ = host_.create("one", def_.get(), journal_);
    ASSERT_TRUE(guest_ && guest_->unpause());
    auto saved = saveToFile(true);
    ASSERT_FALSE(saved);
    EXPECT_NE(saved.error().message.find("status 3"), std::string::npos) << saved.error().message;
    EXPECT_NE(saved.error().message.find("its last words"), std::string::npos) << saved.error().message;
    EXPECT_TRUE(guest_->running());
    EXPECT_TRUE(host_.countsOn("one"));
}

TEST_F(TransferTest, AnAbortedSaveLeavesTheGuestRunning)
{
    auto outcome = std::async(std::launch::async, [&] { return guest_->save(endlessSave()); });
    ASSERT_TRUE(eventually([&] { return guest_->abortTransfer().has_value(); }));
    auto saved = outcome.get();
    ASSERT_FALSE(saved);
    EXPECT_EQ(saved.error().code, ErrorCode::Aborted) << saved.error().message;
    expectGuestGoesOn();
}

TEST_F(TransferTest, ASaveThatTakesTooLongLeavesTheGuestRunning)
{
    SaveRequest request = endlessSave();
    request.maxTime = std::chrono::seconds(1);
    auto saved = guest_->save(std::move(request));
    ASSERT_FALSE(saved);
    EXPECT_EQ(saved.error().code, ErrorCode::OperationFailed);
    EXPECT_NE(saved.error().message.find("within 1 second"), std::string::npos) << saved.error().message;
    expectGuestGoesOn();
}

TEST_F(TransferTest, AGuestThatDiesWhileItIsSavedSaysSo)
{
    auto outcome = std::async(std::launch::async, [&] { return guest_->save(endlessSave()); });
    ASSERT_TRUE(eventually([&] { return guest_->setLimits({}).has_value(); }));
    ASSERT_EQ(kill(guest_->pid(), SIGKILL), 0);
    auto saved = outcome.get();
    ASSERT_FALSE(saved);
    EXPECT_NE(saved.error().message.find("'one' has ended"), std::string::npos) << saved.error().message;
    EXPECT_TRUE(journal_->waitFor("died crashed"));
}

TEST_F(TransferTest, ATruncatedImageLeavesNoGuest)
{
    ASSERT_TRUE(saveToFile(true));
    const auto whole = std::filesystem::file_size(imagePath());
    for (const auto size : {uintmax_t{0}, uintmax_t{30}, whole / 2, whole - 60000, whole - 1}) {
        std::filesystem::resize_file(imagePath(), size);
        auto received = receiveFromFile();
        EXPECT_FALSE(received) << size;
        if (copy_) {
            EXPECT_FALSE(processExists(copy_->pid())) << size;
            EXPECT_TRUE(copyJournal_->waitFor("died failed"));
        }
        copy_.reset();
        copyJournal_ = std::make_shared<Journal>();
    }
    ASSERT_TRUE(guest_->resume(ResumeMode::Fast));
    expectGuestGoesOn();
}

TEST_F(TransferTest, AnImageOfAnotherMachineIsRefusedInTheEmulatorsWords)
{
    ASSERT_TRUE(saveToFile(true));
    ReceiveRequest request = copyRequest();
    copyDef_->memballoon->info.addr.pci.slot = 9;
    request.stream = openImage(O_RDONLY);
    auto guest = host_.hypervisor().receive(std::move(request));
    ASSERT_TRUE(guest) << guest.error().message;
    auto received = (*guest)->finishReceiving(nullptr);
    ASSERT_FALSE(received);
    EXPECT_NE(received.error().message.find("virtio-balloon"), std::string::npos) << received.error().message;
    EXPECT_FALSE(processExists((*guest)->pid()));
}

// ---- migration -----------------------------------------------------------------------------

class Migration : public TransferTest
{
protected:
    void listen()
    {
        UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        address_.sin_family = AF_INET;
        address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address_;
        ASSERT_EQ(bind(listener.get(), reinterpret_cast<sockaddr *>(&address_), size), 0);
        ASSERT_EQ(::listen(listener.get(), 4), 0);
        ASSERT_EQ(getsockname(listener.get(), reinterpret_cast<sockaddr *>(&address_), &size), 0);
        ReceiveRequest request = copyRequest();
        request.stream = std::move(listener);
        request.kind = StreamKind::Listener;
        request.secret = secret;
        auto guest = host_.hypervisor().receive(std::move(request));
        ASSERT_TRUE(guest) << guest.error().message;
        copy_ = *guest;
        arrival_ = std::async(std::launch::async, [this] { return copy_->finishReceiving(nullptr); });
    }
    SaveRequest migration(const char *withSecret)
    {
        SaveRequest request;
        request.stream.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        EXPECT_EQ(::connect(request.stream.get(), reinterpret_cast<sockaddr *>(&address_), sizeof address_), 0);
        request.kind = StreamKind::Channel;
        request.secret = withSecret;
        request.live = true;
        return request;
    }

    sockaddr_in address_{};
    std::future<Result<TransferProgress>> arrival_;
};

TEST_F(Migration, MovesARunningGuest)
{
    listen();
    auto saved = guest_->save(migration(secret));
    ASSERT_TRUE(saved) << saved.error().message;
    EXPECT_TRUE(journal_->waitFor("paused migrating"));
    EXPECT_GE(saved->iteration, 1u);
    EXPECT_FALSE(saved->tracker.empty());
    auto arrived = arrival_.get();
    ASSERT_TRUE(arrived) << arrived.error().message;
    expectCopyGoesOn();
    RecordProperty("downtime_ms", static_cast<int>(saved->downtime));
}

TEST_F(Migration, AbortedByTheDestinationLeavesTheGuestRunning)
{
    listen();
    ASSERT_TRUE(copy_->abortTransfer());
    auto arrived = arrival_.get();
    ASSERT_FALSE(arrived);
    EXPECT_EQ(arrived.error().code, ErrorCode::Aborted) << arrived.error().message;
    EXPECT_FALSE(processExists(copy_->pid()));
    copy_.reset();
    EXPECT_TRUE(guest_->running());
    EXPECT_TRUE(host_.countsOn("one"));
}

TEST_F(Migration, ToAnEmulatorThatDiesLeavesTheGuestRunning)
{
    listen();
    ASSERT_EQ(kill(copy_->pid(), SIGKILL), 0);
    auto arrived = arrival_.get();
    EXPECT_FALSE(arrived);
    copy_.reset();
    const UniqueFd probe(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_NE(::connect(probe.get(), reinterpret_cast<sockaddr *>(&address_), sizeof address_), 0)
        << "nobody listens any more";
    expectGuestGoesOn();
}

} // namespace
} // namespace godwit::hypervisor::machine
