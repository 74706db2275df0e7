// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Real guests: QEMU runs a boot sector.
#include "base/strprintf.h"
#include "hypervisor/machine/guest.h"
#include "tests/hypervisor/machine_host.h"

#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <libxml/xpath.h>
#include <sys/resource.h>

namespace godwit::hypervisor::machine {
namespace {

using base::ErrorCode;

class MachineGuestTest : public testing::Test
{
protected:
    void TearDown() override
    {
        if (guest_) {
            EXPECT_TRUE(guest_->destroy(false));
        }
    }
    void create(Program program, const std::string &devices = "")
    {
        def_ = host_.define("one", program, devices);
        ASSERT_TRUE(def_);
        guest_ = host_.create("one", def_.get(), journal_);
        ASSERT_TRUE(guest_);
    }

    MachineHost host_;
    std::shared_ptr<Journal> journal_ = std::make_shared<Journal>();
    conf::DomainDef def_;
    std::shared_ptr<Guest> guest_;
};

TEST_F(MachineGuestTest, RunsAndStandsStillAsTold)
{
    create(Program::Count);
    EXPECT_FALSE(guest_->running());
    EXPECT_TRUE(guest_->unpause());
    EXPECT_TRUE(guest_->running());
    EXPECT_TRUE(journal_->waitFor("running"));
    EXPECT_TRUE(host_.countsOn("one"));

    EXPECT_TRUE(guest_->pause(StopCause::User));
    EXPECT_FALSE(guest_->running());
    EXPECT_TRUE(journal_->waitFor("paused user"));
    const size_t written = host_.numbers("one").size();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    EXPECT_EQ(host_.numbers("one").size(), written);

    EXPECT_TRUE(guest_->unpause());
    EXPECT_TRUE(host_.countsOn("one"));
}

TEST_F(MachineGuestTest, IsGoneWhenDestroyReturns)
{
    create(Program::Count);
    const pid_t pid = guest_->pid();
    EXPECT_TRUE(processExists(pid));
    EXPECT_TRUE(guest_->destroy(false));
    EXPECT_FALSE(processExists(pid));
    EXPECT_TRUE(journal_->waitFor("died destroyed"));
    EXPECT_FALSE(guest_->unpause());
}

TEST_F(MachineGuestTest, StandsBackWithAllOfItsThreads)
{
    create(Program::Count);
    const auto process = Process::find(guest_->pid());
    ASSERT_TRUE(process);
    process->standBack();
    size_t threads = 0;
    for (const auto &thread : std::filesystem::directory_iterator("/proc/" + std::to_string(guest_->pid()) + "/task")) {
        const auto number = static_cast<id_t>(std::stoul(thread.path().filename()));
        EXPECT_EQ(getpriority(PRIO_PROCESS, number), 10);
        threads++;
    }
    EXPECT_GT(threads, 1U);
}

TEST_F(MachineGuestTest, ThatWasKilledIsReportedOnce)
{
    create(Program::Count);
    ASSERT_TRUE(guest_->unpause());
    ASSERT_EQ(kill(guest_->pid(), SIGKILL), 0);
    EXPECT_TRUE(journal_->waitFor("died crashed"));
    auto late = guest_->pause(StopCause::User);
    ASSERT_FALSE(late);
    EXPECT_NE(late.error().message.find("'one'"), std::string::npos) << late.error().message;
    EXPECT_TRUE(guest_->destroy(false));
    EXPECT_EQ(journal_->count("died crashed") + journal_->count("died destroyed"), 1u);
}

TEST_F(MachineGuestTest, ThatPowersOffEndsItsProcess)
{
    create(Program::PowerOff);
    ASSERT_TRUE(guest_->unpause());
    EXPECT_TRUE(journal_->waitFor("shutting-down"));
    EXPECT_TRUE(journal_->waitFor("died powered-off"));
    EXPECT_FALSE(processExists(guest_->pid()));
}

TEST_F(MachineGuestTest, ThatPowersOffToRebootGoesOn)
{
    create(Program::PowerOff);
    ASSERT_TRUE(guest_->reboot());
    ASSERT_TRUE(guest_->unpause());
    EXPECT_TRUE(journal_->waitFor("paused rebooting"));
    EXPECT_TRUE(journal_->waitFor("reset"));
    // The second time, nobody has asked for a reboot.
    EXPECT_TRUE(journal_->waitFor("died powered-off"));
    EXPECT_EQ(journal_->count("running"), 2u);
    EXPECT_EQ(journal_->count("shutting-down"), 1u);
}

TEST_F(MachineGuestTest, ThatResetsGoesOn)
{
    create(Program::Reset);
    ASSERT_TRUE(guest_->unpause());
    EXPECT_TRUE(journal_->waitFor("reset"));
    EXPECT_TRUE(processExists(guest_->pid()));
}

TEST_F(MachineGuestTest, IsResetFromOutside)
{
    create(Program::Halt);
    ASSERT_TRUE(guest_->unpause());
    EXPECT_TRUE(guest_->reset());
    EXPECT_TRUE(journal_->waitFor("reset"));
}

TEST_F(MachineGuestTest, AnswersQuestions)
{
    create(Program::Count, "<graphics type='vnc' autoport='yes'/><serial type='pty'/>"
                           "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>");
    ASSERT_TRUE(guest_->unpause());
    ASSERT_TRUE(host_.countsOn("one"));

    auto vcpus = guest_->vcpus();
    ASSERT_TRUE(vcpus) << vcpus.error().message;
    ASSERT_EQ(vcpus->size(), 1u);
    EXPECT_GT((*vcpus)[0].thread, 0);

    auto disk = guest_->blockStats("ide0-0-0");
    ASSERT_TRUE(disk) << disk.error().message;
    EXPECT_GE(disk->readBytes, 512u);
    EXPECT_FALSE(guest_->blockStats("virtio-disk7"));

    auto balloon = guest_->balloonStats();
    ASSERT_TRUE(balloon) << balloon.error().message;
    EXPECT_EQ(balloon->actualKib, 32u * 1024);
    EXPECT_EQ(balloon->unusedKib, -1);
    EXPECT_TRUE(guest_->setBalloon(16 * 1024));
    EXPECT_TRUE(guest_->setBalloonPeriod(2));

    EXPECT_TRUE(guest_->sendKeys({0x1d, 0x38, 0xd3}, 10));
    EXPECT_TRUE(guest_->injectNmi());
    auto screen = guest_->screenshot(0);
    ASSERT_TRUE(screen) << screen.error().message;
    char magic[2] = {};
    EXPECT_EQ(read(screen->get(), magic, 2), 2);
    EXPECT_EQ(std::string(magic, 2), "P6");

    ASSERT_TRUE(guest_->describe(def_.get()));
    EXPECT_GE(def_->graphics[0]->data.vnc.port, 5900);
    EXPECT_STREQ(def_->channels[0]->source->data.nix.path,
                 (host_.dir() + "/one/godwit-channel-org.qemu.guest_agent.0").c_str());
    ASSERT_NE(def_->serials[1]->source->data.file.path, nullptr);
    EXPECT_EQ(std::string(def_->serials[1]->source->data.file.path).rfind("/dev/pts/", 0), 0u);
}

TEST_F(MachineGuestTest, ThatCannotStartSaysWhyAndLeavesNothing)
{
    auto def = host_.define("one", Program::Halt);
    ASSERT_TRUE(def);
    def->disks[0]->src->format = VIR_STORAGE_FILE_QCOW2;
    auto guest = host_.hypervisor().create(host_.request("one", def.get(), journal_));
    ASSERT_FALSE(guest);
    EXPECT_NE(guest.error().message.find("qcow2"), std::string::npos) << guest.error().message;
    pid_t pid = 0;
    std::ifstream(host_.dir() + "/one/qemu.pid") >> pid;
    EXPECT_FALSE(pid > 0 && processExists(pid));
    EXPECT_TRUE(journal_->entries().empty());
}

TEST_F(MachineGuestTest, WithoutItsDiskOrKernelNamesThem)
{
    auto def = host_.define("one", Program::Halt);
    ASSERT_TRUE(def);
    std::filesystem::remove(host_.dir() + "/one.img");
    auto guest = host_.hypervisor().create(host_.request("one", def.get(), journal_));
    ASSERT_FALSE(guest);
    EXPECT_NE(guest.error().message.find(host_.dir() + "/one.img"), std::string::npos) << guest.error().message;
}

// ---- a daemon that starts again ------------------------------------------------------------

class AdoptedGuest : public MachineGuestTest
{
protected:
    /// The status that the guest would be found by, changed by `edit`.
    base::Result<std::shared_ptr<Guest>> adopt(const std::function<void(std::string &)> &edit = {})
    {
        virBuffer buffer = VIR_BUFFER_INITIALIZER;
        virBufferAddLit(&buffer, "<domstatus>\n");
        guest_->formatStatus(&buffer);
        virBufferAddLit(&buffer, "</domstatus>\n");
        const conf::Text text(virBufferContentAndReset(&buffer));
        std::string xml = text.get();
        if (edit)
            edit(xml);
        guest_.reset();
        host_.restart();

        std::unique_ptr<xmlDoc, conf::FreeWith<xmlFreeDoc>> document(
            xmlReadMemory(xml.data(), static_cast<int>(xml.size()), "status.xml", nullptr, 0));
        std::unique_ptr<xmlXPathContext, conf::FreeWith<xmlXPathFreeContext>> context(
            xmlXPathNewContext(document.get()));
        context->node = xmlDocGetRootElement(document.get());
        auto status = host_.hypervisor().parseStatus(context.get());
        if (!status)
            return status.error();
        journal_ = std::make_shared<Journal>();
        auto guest = host_.hypervisor().adopt(host_.request("one", def_.get(), journal_), **status);
        if (guest)
            guest_ = *guest;
        return guest;
    }
};

TEST_F(AdoptedGuest, GoesOnAsItWas)
{
    create(Program::Count);
    ASSERT_TRUE(guest_->unpause());
    ASSERT_TRUE(host_.countsOn("one"));
    auto adopted = adopt();
    ASSERT_TRUE(adopted) << adopted.error().message;
    EXPECT_TRUE(journal_->waitFor("running"));
    EXPECT_TRUE(guest_->running());
    EXPECT_TRUE(host_.countsOn("one"));
    EXPECT_TRUE(guest_->pause(StopCause::User));
}

TEST_F(AdoptedGuest, ThatIsPausedIsToldSo)
{
    create(Program::Count);
    auto adopted = adopt();
    ASSERT_TRUE(adopted) << adopted.error().message;
    EXPECT_TRUE(journal_->waitFor("paused unknown"));
}

/// As a daemon leaves it that ends between QEMU's word that the guest stands still and its own that it may go on.
TEST_F(AdoptedGuest, ThatWaitsAtTheSwitchoverGoesOn)
{
    create(Program::Count);
    ASSERT_TRUE(guest_->unpause());
    Qmp &qmp = dynamic_cast<MachineGuest &>(*guest_).qmp();
    const auto capability = Json::object({{"capability", "pause-before-switchover"}, {"state", true}});
    ASSERT_TRUE(qmp.call("migrate-set-capabilities", Json::object({{"capabilities", Json::array({capability})}})));
    const base::UniqueFd sink(::open("/dev/null", O_WRONLY | O_CLOEXEC));
    ASSERT_TRUE(qmp.call("getfd", Json::object({{"fdname", "sink"}}), sink.get()));
    ASSERT_TRUE(qmp.call("migrate", Json::object({{"uri", "fd:sink"}})));
    ASSERT_TRUE(journal_->waitFor("paused unknown"));
    auto adopted = adopt();
    ASSERT_TRUE(adopted) << adopted.error().message;
    EXPECT_TRUE(journal_->waitFor("running"));
    EXPECT_TRUE(host_.countsOn("one"));
    EXPECT_TRUE(guest_->pause(StopCause::User));
}

TEST_F(AdoptedGuest, SaysHowLargeItsMemoryIsByNow)
{
    create(Program::Count, "<memballoon model='virtio'/>");
    auto adopted = adopt();
    ASSERT_TRUE(adopted) << adopted.error().message;
    EXPECT_TRUE(journal_->waitFor("balloon"));
}

TEST_F(AdoptedGuest, ThatPoweredOffUnwatchedIsSettled)
{
    create(Program::PowerOff);
    const pid_t pid = guest_->pid();
    ASSERT_TRUE(guest_->pause(StopCause::User));
    auto adopted = adopt();
    ASSERT_TRUE(adopted) << adopted.error().message;
    ASSERT_TRUE(guest_->unpause());
    EXPECT_TRUE(journal_->waitFor("died powered-off"));
    EXPECT_FALSE(processExists(pid));
}

TEST_F(AdoptedGuest, ThatDiedMeanwhileIsNoDomain)
{
    create(Program::Count);
    const pid_t pid = guest_->pid();
    ASSERT_EQ(kill(pid, SIGKILL), 0);
    ASSERT_TRUE(eventually([&] { return !processExists(pid); }));
    auto adopted = adopt();
    ASSERT_FALSE(adopted);
    EXPECT_EQ(adopted.error().code, ErrorCode::NoDomain);
}

TEST_F(AdoptedGuest, IsNeverAnotherProcessWithItsNumber)
{
    create(Program::Count);
    const pid_t pid = guest_->pid();
    auto adopted = adopt([](std::string &xml) {
        const size_t at = xml.find("startTime='") + 11;
        xml[at] = xml[at] == '9' ? '8' : '9';
    });
    ASSERT_FALSE(adopted);
    EXPECT_EQ(adopted.error().code, ErrorCode::NoDomain);
    EXPECT_TRUE(processExists(pid));
    kill(pid, SIGKILL);
}

TEST_F(AdoptedGuest, ThatWasBeingReceivedIsEnded)
{
    create(Program::Count);
    const pid_t pid = guest_->pid();
    auto adopted = adopt([](std::string &xml) { xml.insert(xml.find("/>"), " receiving='yes'"); });
    ASSERT_FALSE(adopted);
    EXPECT_EQ(adopted.error().code, ErrorCode::NoDomain);
    EXPECT_TRUE(eventually([&] { return !processExists(pid); }));
}

TEST_F(AdoptedGuest, OfABrokenStatusFileIsRefused)
{
    create(Program::Count);
    const pid_t pid = guest_->pid();
    auto adopted = adopt([](std::string &xml) { xml.replace(xml.find("startTime"), 9, "startedAt"); });
    ASSERT_FALSE(adopted);
    EXPECT_EQ(adopted.error().code, ErrorCode::BadFormat);
    kill(pid, SIGKILL);
}

} // namespace
} // namespace godwit::hypervisor::machine
