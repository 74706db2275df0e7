// SPDX-License-Identifier: LGPL-2.1-or-later
#include "migration/peer.h"

#include "base/i18n.h"
#include "base/strprintf.h"

#include <condition_variable>
#include <mutex>
#include <thread>

namespace godwit::migration {

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::strprintf;
using base::tr;

static constexpr std::chrono::seconds openPatience(30);

// ---- opening ----------------------------------------------------------------------------

namespace {

/// Shared by who asks for a connection and the thread that makes it.
struct Opening {
    std::mutex mutex;
    std::condition_variable done;
    bool abandoned = false;
    std::optional<Result<virConnectPtr>> outcome;
};

using Identity = std::unique_ptr<virIdentity, conf::FreeWith<g_object_unref>>;

} // namespace

/// Credentials come from libvirt's auth.conf: a daemon has nobody to ask.
static virConnectPtr connectTo(const std::string &uri)
{
    static int types[] = {VIR_CRED_ECHOPROMPT, VIR_CRED_REALM, VIR_CRED_PASSPHRASE, VIR_CRED_NOECHOPROMPT,
                          VIR_CRED_EXTERNAL};
    virConnectAuth auth = {types, std::size(types), nullptr, nullptr};
    return virConnectOpenAuth(uri.c_str(), &auth, 0);
}

static void openInto(const std::shared_ptr<Opening> &opening, const std::string &uri, const Identity &identity)
{
    if (identity)
        (void)virIdentitySetCurrent(identity.get());
    Result<virConnectPtr> outcome = conf::check(connectTo(uri));
    {
        const std::lock_guard lock(opening->mutex);
        if (!opening->abandoned) {
            opening->outcome = std::move(outcome);
            opening->done.notify_all();
            return;
        }
    }
    if (outcome)
        virConnectClose(*outcome);
}

/// A name server, a dead network or an ssh may take as long as they like: a thread waits for
/// them, and closes a connection that came too late.
static Result<virConnectPtr> openInTime(const std::string &uri)
{
    auto opening = std::make_shared<Opening>();
    auto identity = std::make_shared<Identity>(virIdentityGetCurrent());
    std::thread([=] { openInto(opening, uri, *identity); }).detach();
    std::unique_lock lock(opening->mutex);
    if (opening->done.wait_for(lock, openPatience, [&] { return opening->outcome.has_value(); }))
        return std::move(*opening->outcome);
    opening->abandoned = true;
    return makeError(ErrorCode::TimedOut, tr("no answer within %d seconds"), static_cast<int>(openPatience.count()));
}

static Result<bool> has(virConnectPtr connection, int feature)
{
    const int answer = virConnectSupportsFeature(connection, feature);
    if (answer < 0)
        return conf::takeLibvirtError();
    return answer > 0;
}

/// A driver in this very process needs no signs of life.
static Result<void> keepAlive(virConnectPtr connection, const conf::Settings &settings)
{
    if (settings.keepaliveInterval == 0 ||
        virConnectSetKeepAlive(connection, static_cast<int>(settings.keepaliveInterval), settings.keepaliveCount) >= 0)
        return {};
    base::Error error = conf::takeLibvirtError();
    if (error.native == VIR_ERR_NO_SUPPORT)
        return {};
    return error;
}

Result<Peer> Peer::open(const std::string &uri, const conf::Settings &settings)
{
    Connection connection(TRY_IN(strprintf(tr("connecting to '%s'"), uri.c_str()), openInTime(uri)));
    TRY(keepAlive(connection.get(), settings));
    if (!TRY(has(connection.get(), VIR_DRV_FEATURE_MIGRATION_P2P)) ||
        !TRY(has(connection.get(), VIR_DRV_FEATURE_MIGRATION_V3)))
        return makeError(ErrorCode::Unsupported, tr("'%s' does not support peer-to-peer migration"), uri.c_str());
    const bool parameters = TRY(has(connection.get(), VIR_DRV_FEATURE_MIGRATION_PARAMS));
    return Peer(std::move(connection), parameters);
}

static void connectionEnded(virConnectPtr, int, void *opaque)
{
    if (auto guest = static_cast<std::weak_ptr<hypervisor::Guest> *>(opaque)->lock())
        (void)guest->abortTransfer(tr("the connection to the destination's daemon broke")).has_value();
}

Result<void> Peer::abortAtItsEnd(const std::shared_ptr<hypervisor::Guest> &guest)
{
    // Ours, not the connection's: a driver in this process takes no callback, and would not free it.
    watched_ = std::make_unique<std::weak_ptr<hypervisor::Guest>>(guest);
    return conf::check(virConnectRegisterCloseCallback(connection_.get(), connectionEnded, watched_.get(), nullptr));
}

Peer::~Peer()
{
    // Not registered in most of what fails early: that is no news. A call that is under way is
    // waited for.
    if (connection_ && virConnectUnregisterCloseCallback(connection_.get(), connectionEnded) < 0)
        virResetLastError();
}

// ---- phases -----------------------------------------------------------------------------

namespace {

/// Parameters of one call.
class Parameters
{
public:
    Parameters() = default;
    Parameters(const Parameters &) = delete;
    Parameters &operator=(const Parameters &) = delete;
    ~Parameters() { virTypedParamsFree(list, count); }

    Result<void> add(const char *name, const std::string &value)
    {
        if (value.empty())
            return {};
        return conf::check(virTypedParamsAddString(&list, &count, &room_, name, value.c_str()));
    }
    Result<void> add(const char *name, unsigned value)
    {
        return conf::check(virTypedParamsAddInt(&list, &count, &room_, name, static_cast<int>(value)));
    }

    virTypedParameterPtr list = nullptr;
    int count = 0;

private:
    int room_ = 0;
};

/// A cookie on its way out, and the one that comes back.
struct Exchange {
    explicit Exchange(const Cookie &cookie) : out(formatCookie(cookie)), size(static_cast<int>(out.size() + 1)) {}
    ~Exchange() { g_free(in); }
    Exchange(const Exchange &) = delete;
    Exchange &operator=(const Exchange &) = delete;

    /// A stock peer answers none.
    Result<Cookie> reply() const
    {
        if (!in || length <= 0)
            return Cookie();
        return parseCookie(in, length);
    }

    std::string out;
    int size;
    char *in = nullptr;
    int length = 0;
};

const char *orNull(const std::string &text)
{
    return text.empty() ? nullptr : text.c_str();
}

} // namespace

Result<Peer::Prepared> Peer::prepare(const Request &request, const BeginReply &begun, unsigned flags)
{
    virConnectPtr peer = connection_.get();
    if (isOffline(request) && !TRY(has(peer, VIR_DRV_FEATURE_MIGRATION_OFFLINE)))
        return makeError(ErrorCode::Unsupported, "%s", tr("the destination does not support offline migration"));
    Prepared prepared;
    Exchange cookies(begun.cookie);
    char *uri = nullptr;
    Parameters parameters;
    TRY(parameters.add(VIR_MIGRATE_PARAM_DEST_XML, begun.xml));
    TRY(parameters.add(VIR_MIGRATE_PARAM_DEST_NAME, request.name));
    TRY(parameters.add(VIR_MIGRATE_PARAM_URI, request.uri));
    TRY(parameters.add(VIR_MIGRATE_PARAM_LISTEN_ADDRESS, request.listenAddress));
    if (flags & VIR_MIGRATE_PARALLEL)
        TRY(parameters.add(VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS, request.connections));
    if (flags & VIR_MIGRATE_TUNNELLED) {
        prepared.stream.reset(TRY(conf::check(virStreamNew(peer, 0))));
        TRY(conf::check(takesParameters_
                            ? virDomainMigratePrepareTunnel3Params(peer, prepared.stream.get(), parameters.list,
                                                                   parameters.count, cookies.out.c_str(), cookies.size,
                                                                   &cookies.in, &cookies.length, flags)
                            : virDomainMigratePrepareTunnel3(peer, prepared.stream.get(), cookies.out.c_str(),
                                                             cookies.size, &cookies.in, &cookies.length, flags,
                                                             orNull(request.name), 0, begun.xml.c_str())));
    } else if (takesParameters_) {
        TRY(conf::check(virDomainMigratePrepare3Params(peer, parameters.list, parameters.count, cookies.out.c_str(),
                                                       cookies.size, &cookies.in, &cookies.length, &uri, flags)));
    } else {
        if (!request.listenAddress.empty())
            return makeError(ErrorCode::Unsupported, "%s", tr("the destination is too old for a listen address"));
        TRY(conf::check(virDomainMigratePrepare3(peer, cookies.out.c_str(), cookies.size, &cookies.in, &cookies.length,
                                                 orNull(request.uri), &uri, flags, orNull(request.name), 0,
                                                 begun.xml.c_str())));
    }
    const conf::Text owned(uri);
    prepared.uri = uri ? uri : request.uri;
    // An answer that cannot be read fails Perform: the destination waits already.
    if (auto reply = cookies.reply())
        prepared.cookie = std::move(reply).value();
    else
        prepared.cookie.extension.emplace();
    return prepared;
}

Result<Cookie> Peer::finish(const Request &request, const std::string &name, const std::string &uri,
                            const Cookie &performed, bool cancelled, unsigned flags)
{
    virConnectPtr peer = connection_.get();
    Exchange cookies(performed);
    const std::string &there = request.name.empty() ? name : request.name;
    Parameters parameters;
    TRY(parameters.add(VIR_MIGRATE_PARAM_DEST_NAME, there));
    virDomainPtr domain =
        takesParameters_
            ? virDomainMigrateFinish3Params(peer, parameters.list, parameters.count, cookies.out.c_str(), cookies.size,
                                            &cookies.in, &cookies.length, flags, cancelled)
            : virDomainMigrateFinish3(peer, there.c_str(), cookies.out.c_str(), cookies.size, &cookies.in,
                                      &cookies.length, nullptr, orNull(uri), flags, cancelled);
    if (!domain)
        return conf::takeLibvirtError();
    virDomainFree(domain);
    auto reply = cookies.reply();
    return reply ? std::move(reply) : Result<Cookie>(Cookie());
}

} // namespace godwit::migration
