// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/driver/client.h"

#include "base/strprintf.h"
#include "base/unique_fd.h"

#include <algorithm>
#include <atomic>
#include <fcntl.h>
#include <fstream>
#include <map>
#include <sstream>
#include <sys/file.h>
#include <thread>

extern "C" int godwitRegister(void);

namespace godwit::tests {

using base::strprintf;

std::string textOf(char *owned)
{
    EXPECT_NE(owned, nullptr) << lastError();
    Malloced text(owned);
    return text ? text.get() : "";
}

// ---- the process's libvirt ----------------------------------------------------------

/// Registers the driver before anything else of libvirt runs, and delivers events.
class Libvirt : public testing::Environment
{
public:
    void SetUp() override
    {
        // The driver is linked into this program: libvirt shall find no module of that name.
        setenv("LIBVIRT_DRIVER_DIR", "/nonexistent", 1);
        ASSERT_EQ(godwitRegister(), 0);
        ASSERT_EQ(virInitialize(), 0);
        ASSERT_EQ(virEventRegisterDefaultImpl(), 0);
        virSetErrorFunc(nullptr, [](void *, virErrorPtr) {});
        timer_ = virEventAddTimeout(50, [](int, void *) {}, nullptr, nullptr);
        thread_ = std::thread([this] {
            while (!stopping_)
                virEventRunDefaultImpl();
        });
    }
    void TearDown() override
    {
        stopping_ = true;
        if (thread_.joinable())
            thread_.join();
    }

private:
    std::atomic<bool> stopping_ = false;
    int timer_ = -1;
    std::thread thread_;
};

static testing::Environment *const libvirt = testing::AddGlobalTestEnvironment(new Libvirt);

// ---- Client -------------------------------------------------------------------------

static const char *eventName(int event)
{
    static const char *const names[] = {"defined", "undefined", "started",     "suspended", "resumed",
                                        "stopped", "shutdown",  "pmsuspended", "crashed"};
    return event >= 0 && event < static_cast<int>(std::size(names)) ? names[event] : "?";
}

static Client *clientOf(void *opaque)
{
    return static_cast<Client *>(opaque);
}

static int lifecycleEvent(virConnectPtr, virDomainPtr domain, int event, int detail, void *opaque)
{
    clientOf(opaque)->record(strprintf("%s:%s.%d", virDomainGetName(domain), eventName(event), detail));
    return 0;
}

static void rebootEvent(virConnectPtr, virDomainPtr domain, void *opaque)
{
    clientOf(opaque)->record(strprintf("%s:reboot", virDomainGetName(domain)));
}

static void balloonEvent(virConnectPtr, virDomainPtr domain, unsigned long long kib, void *opaque)
{
    clientOf(opaque)->record(strprintf("%s:balloon %llu", virDomainGetName(domain), kib));
}

static void ioErrorEvent(virConnectPtr, virDomainPtr domain, const char *, const char *alias, int action,
                         const char *reason, void *opaque)
{
    clientOf(opaque)->record(strprintf("%s:ioerror %s %d %s", virDomainGetName(domain), alias, action, reason));
}

static void metadataEvent(virConnectPtr, virDomainPtr domain, int type, const char *uri, void *opaque)
{
    clientOf(opaque)->record(strprintf("%s:metadata %d %s", virDomainGetName(domain), type, uri ? uri : ""));
}

static void iterationEvent(virConnectPtr, virDomainPtr domain, int iteration, void *opaque)
{
    clientOf(opaque)->record(strprintf("%s:iteration %d", virDomainGetName(domain), iteration));
}

static void jobCompletedEvent(virConnectPtr, virDomainPtr domain, virTypedParameterPtr params, int count, void *opaque)
{
    int operation = -1;
    EXPECT_EQ(virTypedParamsGetInt(params, count, VIR_DOMAIN_JOB_OPERATION, &operation), 1);
    clientOf(opaque)->record(strprintf("%s:job %d", virDomainGetName(domain), operation));
}

/// How many clients of this process use a root.
static std::map<std::string, int> &openClients()
{
    static std::map<std::string, int> clients;
    return clients;
}

Client::Client(const std::string &root) : root_(root)
{
    connection_ = virConnectOpen(("godwit:///embed?root=" + root).c_str());
    if (!connection_)
        return;
    openClients()[root_]++;
    const std::pair<int, virConnectDomainEventGenericCallback> wanted[] = {
        {VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(lifecycleEvent)},
        {VIR_DOMAIN_EVENT_ID_REBOOT, VIR_DOMAIN_EVENT_CALLBACK(rebootEvent)},
        {VIR_DOMAIN_EVENT_ID_BALLOON_CHANGE, VIR_DOMAIN_EVENT_CALLBACK(balloonEvent)},
        {VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON, VIR_DOMAIN_EVENT_CALLBACK(ioErrorEvent)},
        {VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, VIR_DOMAIN_EVENT_CALLBACK(metadataEvent)},
        {VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION, VIR_DOMAIN_EVENT_CALLBACK(iterationEvent)},
        {VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, VIR_DOMAIN_EVENT_CALLBACK(jobCompletedEvent)},
    };
    for (const auto &[event, callback] : wanted) {
        const int id = virConnectDomainEventRegisterAny(connection_, nullptr, event, callback, this, nullptr);
        EXPECT_GE(id, 0) << lastError();
        callbacks_.push_back(id);
    }
}

/// A host is gone when another process could take its root.
static bool rootIsFree(const std::string &root)
{
    const base::UniqueFd fd(open((root + "/run/godwit/lock").c_str(), O_RDWR | O_CLOEXEC));
    return !fd || flock(fd.get(), LOCK_EX | LOCK_NB) == 0;
}

Client::~Client()
{
    if (!connection_)
        return;
    for (int id : callbacks_)
        EXPECT_EQ(virConnectDomainEventDeregisterAny(connection_, id), 0) << lastError();
    EXPECT_GE(virConnectClose(connection_), 0);
    // Callbacks hold the connection until the event loop has let go of them.
    if (--openClients()[root_] == 0) {
        int tries = 6000;
        while (!rootIsFree(root_) && --tries > 0)
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        EXPECT_GT(tries, 0) << "somebody still uses the host";
    }
    const std::lock_guard last(mutex_);   // whoever recorded last has let go of it
}

DomainHandle Client::define(const std::string &xml)
{
    return DomainHandle(virDomainDefineXML(connection_, xml.c_str()));
}

DomainHandle Client::create(const std::string &xml, unsigned flags)
{
    return DomainHandle(virDomainCreateXML(connection_, xml.c_str(), flags));
}

DomainHandle Client::lookup(const std::string &name)
{
    return DomainHandle(virDomainLookupByName(connection_, name.c_str()));
}

std::string Client::names(unsigned flags)
{
    virDomainPtr *domains = nullptr;
    const int count = virConnectListAllDomains(connection_, &domains, flags);
    EXPECT_GE(count, 0) << lastError();
    std::vector<std::string> names;
    for (int i = 0; i < count; i++) {
        names.push_back(virDomainGetName(domains[i]));
        virDomainFree(domains[i]);
    }
    std::free(domains);
    std::sort(names.begin(), names.end());
    std::string all;
    for (const std::string &name : names)
        all += (all.empty() ? "" : " ") + name;
    return all;
}

std::vector<std::string> Client::events()
{
    std::lock_guard lock(mutex_);
    return events_;
}

void Client::record(const std::string &text)
{
    std::lock_guard lock(mutex_);
    events_.push_back(text);
    changed_.notify_all();
}

bool Client::sees(const std::string &text)
{
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::minutes(1), [&] {
        return std::any_of(events_.begin(), events_.end(),
                           [&](const std::string &event) { return event.starts_with(text); });
    });
}

// ---- helpers ------------------------------------------------------------------------

HostsTest::HostsTest()
{
    char path[] = "/tmp/godwit-XXXXXX";
    base_ = mkdtemp(path);
}

HostsTest::~HostsTest()
{
    std::filesystem::remove_all(base_);
}

std::string stateOf(const DomainHandle &domain)
{
    static const char *const names[] = {"nostate",  "running", "blocked", "paused",
                                        "shutdown", "shutoff", "crashed", "pmsuspended"};
    int state = 0;
    int reason = 0;
    if (virDomainGetState(domain.get(), &state, &reason, 0) < 0)
        return lastError();
    return strprintf("%s.%d", names[state], reason);
}

std::string xmlOf(const DomainHandle &domain, unsigned flags)
{
    return textOf(virDomainGetXMLDesc(domain.get(), flags));
}

std::string uuidOf(const std::string &name)
{
    const auto hash = static_cast<unsigned>(std::hash<std::string>()(name));
    return strprintf("00000000-0000-4000-8000-0000%08x", hash);
}

std::string domainXml(const std::string &name, const std::string &devices, const std::string &more)
{
    return "<domain type='qemu'><name>" + name + "</name><uuid>" + uuidOf(name) +
           "</uuid><memory unit='MiB'>64</memory><os><type arch='x86_64'>hvm</type></os>" + more + "<devices>" +
           devices + "</devices></domain>";
}

std::string lastError()
{
    const virError *error = virGetLastError();
    return error && error->message ? strprintf("%d: %s", error->code, error->message) : "no error";
}

testing::AssertionResult failedWith(int code, const std::string &text)
{
    const virError *error = virGetLastError();
    if (error && error->code == code && error->message && std::string(error->message).find(text) != std::string::npos)
        return testing::AssertionSuccess();
    return testing::AssertionFailure() << "expected error " << code << " with '" << text << "', not " << lastError();
}

void writeFile(const std::string &path, const std::string &content)
{
    std::ofstream(path) << content;
}

std::string readFile(const std::string &path)
{
    std::ostringstream content;
    content << std::ifstream(path).rdbuf();
    return content.str();
}

} // namespace godwit::tests
