// SPDX-License-Identifier: LGPL-2.1-or-later
#include "migration/witness_record.h"

#include "base/i18n.h"
#include "domain/host.h"

#include <filesystem>

namespace godwit::migration {

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::systemError;
using base::tr;
using std::chrono::seconds;
using std::chrono::system_clock;

using KeyFile = std::unique_ptr<GKeyFile, conf::FreeWith<g_key_file_unref>>;
static constexpr char group[] = "witness", partialSuffix[] = ".new";

static std::string witnessDir(const domain::Host &host)
{
    return host.settings().stateDir + "/witness";
}

std::string witnessPath(const domain::Host &host, const virDomainDef *def, unsigned short port)
{
    char uuid[VIR_UUID_STRING_BUFLEN];
    virUUIDFormat(def->uuid, uuid);
    return witnessDir(host) + "/" + uuid + "." + std::to_string(port);
}

std::vector<std::string> witnessPaths(const domain::Host &host)
{
    std::vector<std::string> paths;
    std::error_code absent;
    for (const auto &entry : std::filesystem::directory_iterator(witnessDir(host), absent))
        if (entry.path().extension() != partialSuffix)
            paths.push_back(entry.path());
    return paths;
}

static base::Error takeFailure(GError *failure, const std::string &path)
{
    base::Error error = makeError(ErrorCode::OperationFailed, "'%s': %s", path.c_str(), failure->message);
    g_error_free(failure);
    return error;
}

Result<void> writeRecord(const std::string &path, const WitnessRecord &record)
{
    const std::string directory = path.substr(0, path.rfind('/'));
    if (g_mkdir_with_parents(directory.c_str(), 0700) < 0)
        return systemError(errno, tr("cannot create directory '%s'"), directory.c_str());
    const KeyFile file(g_key_file_new());
    g_key_file_set_string(file.get(), group, "address", record.here.address.c_str());
    g_key_file_set_integer(file.get(), group, "port", record.here.port);
    g_key_file_set_string(file.get(), group, "secret", record.here.secret.c_str());
    g_key_file_set_integer(file.get(), group, "verdict", static_cast<int>(record.verdict));
    g_key_file_set_int64(file.get(), group, "until", system_clock::to_time_t(record.until));
    const conf::Text text(g_key_file_to_data(file.get(), nullptr, nullptr));
    // Whole or not there; not safe from a crash of the host, which the guest would not survive either.
    // It is written while the guest stands still: nothing waits for a disk.
    const std::string partial = path + partialSuffix;
    GError *failure = nullptr;
    if (!g_file_set_contents_full(partial.c_str(), text.get(), -1, G_FILE_SET_CONTENTS_NONE, 0600, &failure)) {
        ::unlink(partial.c_str());   // of a full disk, nothing is left
        return takeFailure(failure, partial);
    }
    if (::rename(partial.c_str(), path.c_str()) < 0)
        return systemError(errno, tr("cannot rename '%s'"), partial.c_str());
    return {};
}

Result<WitnessRecord> readRecord(const std::string &path)
{
    const KeyFile file(g_key_file_new());
    GError *failure = nullptr;
    if (!g_key_file_load_from_file(file.get(), path.c_str(), G_KEY_FILE_NONE, &failure))
        return takeFailure(failure, path);
    const auto text = [&](const char *key) {
        const conf::Text found(g_key_file_get_string(file.get(), group, key, nullptr));
        return std::string(found ? found.get() : "");
    };
    WitnessRecord record;
    record.here.address = text("address");
    record.here.secret = text("secret");
    const int port = g_key_file_get_integer(file.get(), group, "port", nullptr);
    const int verdict = g_key_file_get_integer(file.get(), group, "verdict", nullptr);
    const gint64 until = g_key_file_get_int64(file.get(), group, "until", nullptr);
    constexpr auto latest = std::chrono::duration_cast<seconds>(system_clock::duration::max()).count();
    if (record.here.secret.empty() || port < 1 || port > 65535 || verdict < 1 || verdict > 2 || until < 0 || until > latest)
        return makeError(ErrorCode::BadFormat, tr("'%s' is no record of a migration"), path.c_str());
    record.here.port = static_cast<unsigned short>(port);
    record.verdict = static_cast<Verdict>(verdict);
    record.until = system_clock::from_time_t(until);
    return record;
}

} // namespace godwit::migration
