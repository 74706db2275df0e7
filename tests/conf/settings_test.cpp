// SPDX-License-Identifier: LGPL-2.1-or-later
#include "conf/settings.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace godwit::conf {

using base::ErrorCode;
using testing::HasSubstr;

class SettingsTest : public testing::Test
{
protected:
    SettingsTest()
    {
        char path[] = "/tmp/godwit-conf-XXXXXX";
        root_ = mkdtemp(path);
        std::filesystem::create_directory(root_ + "/etc");
    }
    ~SettingsTest() override
    {
        unsetenv("GODWIT_CONFIG");
        unsetenv("GODWIT_BUILD_DIR");
        std::filesystem::remove_all(root_);
    }
    base::Result<Settings> embedded(const std::string &text)
    {
        std::ofstream(root_ + "/etc/godwit.conf") << text;
        return Settings::forEmbed(root_);
    }

    std::string root_;
};

TEST_F(SettingsTest, OfARootLieBelowIt)
{
    auto settings = Settings::forEmbed(root_);
    ASSERT_TRUE(settings) << settings.error().message;
    for (const std::string *dir : {&settings->configDir, &settings->autostartDir, &settings->stateDir,
                                   &settings->runDir, &settings->logDir, &settings->saveDir})
        EXPECT_TRUE(dir->starts_with(root_ + "/")) << *dir;
    EXPECT_EQ(settings->autostartDir, settings->configDir + "/autostart");
    EXPECT_EQ(settings->root, root_);
    EXPECT_EQ(settings->migrationPortMin, 49152u);
    EXPECT_EQ(settings->migrationPortMax, 49215u);
    EXPECT_EQ(settings->migrationDowntime, 300u);
}

TEST_F(SettingsTest, OfAFileReplaceTheDefaults)
{
    auto settings = embedded("config_dir = \"/c\"\nstate_dir = \"/s\"\nrun_dir = \"/r\"\nlog_dir = \"/l\"\n"
                             "save_dir = \"/i\"\nhelper = \"/h\"\nagent = \"/a\"\nlauncher = \"/t\"\nqemu_binary = \"/q\"\n"
                             "migration_address = \"::\"\nmigration_host = \"me\"\nmigration_port_min = 1000\n"
                             "migration_port_max = 1001\nmigration_downtime = 20\n"
                             "migration_plain_peers = 0\nkeepalive_interval = 0\nkeepalive_count = 9\nmigration_max_rounds = 7\nmigration_max_time = 60\nmax_transfers = 3\n"
                             "restore_on_demand = 0\n");
    ASSERT_TRUE(settings) << settings.error().message;
    EXPECT_EQ(settings->configDir, "/c");
    EXPECT_EQ(settings->autostartDir, "/c/autostart");
    EXPECT_EQ(settings->stateDir, "/s");
    EXPECT_EQ(settings->runDir, "/r");
    EXPECT_EQ(settings->logDir, "/l");
    EXPECT_EQ(settings->saveDir, "/i");
    EXPECT_EQ(settings->helper, "/h");
    EXPECT_EQ(settings->agent, "/a");
    EXPECT_EQ(settings->launcher, "/t");
    EXPECT_EQ(settings->qemuBinary, "/q");
    EXPECT_EQ(settings->migrationAddress, "::");
    EXPECT_EQ(settings->migrationHost, "me");
    EXPECT_EQ(settings->migrationPortMin, 1000u);
    EXPECT_EQ(settings->migrationPortMax, 1001u);
    EXPECT_EQ(settings->migrationDowntime, 20u);
    EXPECT_FALSE(settings->migrationPlainPeers);
    EXPECT_EQ(settings->keepaliveInterval, 0u);
    EXPECT_EQ(settings->keepaliveCount, 9u);
    EXPECT_EQ(settings->migrationMaxRounds, 7u);
    EXPECT_EQ(settings->migrationMaxTime, 60u);
    EXPECT_EQ(settings->maxTransfers, 3u);
    EXPECT_FALSE(settings->restoreOnDemand);
}

TEST_F(SettingsTest, OfTlsAreThoseOfQemuConf)
{
    auto settings = embedded("default_tls_x509_cert_dir = \"/all\"\ndefault_tls_x509_verify = 0\n");
    ASSERT_TRUE(settings) << settings.error().message;
    // A host with a directory for migrations alone uses that.
    EXPECT_THAT(settings->tlsDirectory, testing::AnyOf("/all", "/etc/pki/libvirt-migrate"));
    EXPECT_FALSE(settings->tlsVerify);
    EXPECT_FALSE(settings->tlsForce);
    settings = embedded("default_tls_x509_cert_dir = \"/all\"\ndefault_tls_x509_verify = 0\n"
                        "migrate_tls_x509_cert_dir = \"/migrate\"\nmigrate_tls_x509_verify = 1\nmigrate_tls_force = 1\n");
    ASSERT_TRUE(settings) << settings.error().message;
    EXPECT_EQ(settings->tlsDirectory, "/migrate");
    EXPECT_TRUE(settings->tlsVerify);
    EXPECT_TRUE(settings->tlsForce);
    for (const char *line : {"migrate_tls_x509_cert_dir = \"relative\"", "default_tls_x509_cert_dir = \"relative\"",
                             "migrate_tls_force = \"yes\"", "migrate_tls_x509_verify = 2"})
        EXPECT_FALSE(embedded(line)) << line;
}

TEST_F(SettingsTest, AreHeldToTheirLimits)
{
    for (const char *line : {"migration_port_min = 1", "migration_port_min = 49214", "migration_port_max = 65535",
                             "migration_port_max = 49153", "migration_downtime = 1", "migration_downtime = 2000000"})
        EXPECT_TRUE(embedded(line)) << line;
    const std::pair<const char *, const char *> bad[] = {
        {"migration_port_min = 0", "migration_port_min must be between 1 and 65534, not 0"},
        {"migration_port_min = 65535", "migration_port_min"},
        {"migration_port_max = 49152", "migration_port_max must be between 49153 and 65535"},
        {"migration_port_max = 65536", "migration_port_max"},
        {"migration_downtime = 0", "migration_downtime"},
        {"migration_downtime = 2000001", "migration_downtime"},
        {"migration_downtime = -1", "migration_downtime"},
        {"keepalive_count = 0", "keepalive_count must be between 1 and 1000, not 0"},
        {"keepalive_interval = 3601", "keepalive_interval"},
        {"migration_plain_peers = 2", "migration_plain_peers"},
        {"migration_max_rounds = -1", "migration_max_rounds"},
        {"migration_max_time = 1000001", "migration_max_time"},
        {"max_transfers = 0", "max_transfers must be between 1 and 1000, not 0"},
        {"max_transfers = 1001", "max_transfers"},
        {"restore_on_demand = 2", "restore_on_demand"},
        {"migration_downtime = \"soon\"", "migration_downtime"},
        {"state_dir = \"relative\"", "state_dir must be an absolute path, not 'relative'"},
        {"helper = 7", "helper"},
    };
    for (const auto &[line, message] : bad) {
        auto settings = embedded(line);
        ASSERT_FALSE(settings) << line;
        EXPECT_THAT(settings.error().message, HasSubstr(message)) << line;
        EXPECT_THAT(settings.error().message, HasSubstr("godwit.conf")) << line;
    }
}

TEST_F(SettingsTest, ThatCannotBeParsedNameTheFileAndLine)
{
    auto settings = embedded("migration_downtime = 5\nnonsense");
    ASSERT_FALSE(settings);
    EXPECT_THAT(settings.error().message, HasSubstr("godwit.conf:2"));
}

TEST_F(SettingsTest, OfADaemonComeFromTheFileThatTheEnvironmentNames)
{
    const std::string file = root_ + "/own.conf";
    setenv("GODWIT_CONFIG", file.c_str(), 1);
    EXPECT_FALSE(Settings::forDaemon(true)) << "a file that is named must be there";
    std::ofstream(file) << "state_dir = \"" << root_ << "/state\"\n";
    auto settings = Settings::forDaemon(true);
    ASSERT_TRUE(settings) << settings.error().message;
    EXPECT_EQ(settings->stateDir, root_ + "/state");
    EXPECT_EQ(settings->configDir, "/etc/libvirt/godwit");
    EXPECT_TRUE(settings->privileged);
}

TEST_F(SettingsTest, FindProgramsInTheBuildDirectoryWhereItIsNamed)
{
    setenv("GODWIT_BUILD_DIR", "/b", 1);
    auto settings = Settings::forEmbed(root_);
    ASSERT_TRUE(settings);
    EXPECT_EQ(settings->helper, "/b/helper/godwit-helper");
    EXPECT_TRUE(settings->agent.starts_with("/b/engine/")) << settings->agent;
}

} // namespace godwit::conf
