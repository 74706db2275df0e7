// SPDX-License-Identifier: LGPL-2.1-or-later
#include "migration/data_connection.h"

#include "base/i18n.h"
#include "conf/handle.h"
#include "conf/libvirt_error.h"

#include <fcntl.h>
#include <future>
#include <netinet/tcp.h>

namespace godwit::migration {

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::systemError;
using base::tr;
using base::UniqueFd;

static constexpr unsigned connectSeconds = 10;

Result<Endpoint> Endpoint::parse(const char *text)
{
    conf::Uri uri(virURIParse(text));
    if (!uri)
        return makeError(ErrorCode::InvalidArgument, tr("cannot parse migration URI '%s'"), text);
    if (!uri->scheme || STRNEQ(uri->scheme, "tcp"))
        return makeError(ErrorCode::InvalidArgument, tr("migration URI '%s' is not tcp://HOST[:PORT]"), text);
    if (!uri->server || !*uri->server)
        return makeError(ErrorCode::InvalidArgument, tr("migration URI '%s' names no host"), text);
    if (uri->port > 65535)
        return makeError(ErrorCode::InvalidArgument, tr("migration URI '%s' names no valid port"), text);
    return Endpoint{uri->server, static_cast<unsigned short>(uri->port)};
}

std::string Endpoint::uri() const
{
    const bool ipv6 = host.find(':') != std::string::npos;
    return "tcp://" + (ipv6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<std::string> hostname()
{
    conf::Text name(virGetHostname());
    if (!name)
        return conf::takeLibvirtError();
    return std::string(name.get());
}

using AddressList = std::unique_ptr<addrinfo, conf::FreeWith<freeaddrinfo>>;

static UniqueFd listenAt(const addrinfo &address)
{
    UniqueFd fd(::socket(address.ai_family, address.ai_socktype | SOCK_CLOEXEC, address.ai_protocol));
    const int on = 1;
    const int off = 0;
    if (!fd || ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0)
        return {};
    // "::" is every address, those of IPv4 too.
    if (address.ai_family == AF_INET6 && ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) < 0)
        return {};
    if (::bind(fd.get(), address.ai_addr, address.ai_addrlen) < 0 || ::listen(fd.get(), SOMAXCONN) < 0)
        return {};
    return fd;
}

/// Listen on the first of a name's addresses that takes it.
static Result<UniqueFd> listenAt(const std::string &address, unsigned short port)
{
    addrinfo hints{};
    hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo *found = nullptr;
    if (const int failed = ::getaddrinfo(address.c_str(), std::to_string(port).c_str(), &hints, &found))
        return makeError(ErrorCode::OperationFailed, tr("cannot listen on '%s': %s"), address.c_str(),
                         gai_strerror(failed));
    const AddressList list(found);
    for (const addrinfo *candidate = found; candidate; candidate = candidate->ai_next) {
        if (UniqueFd fd = listenAt(*candidate))
            return fd;
    }
    return systemError(errno, tr("cannot listen on '%s', port %d"), address.c_str(), port);
}

/// On every address, IPv4's alone on a machine that has no others.
static Result<UniqueFd> listenAnywhere(unsigned short port)
{
    if (auto fd = listenAt("::", port))
        return fd;
    return listenAt("0.0.0.0", port);
}

Result<ListeningSocket> listenOn(const std::string &address, unsigned short port, const virPortAllocatorRange *range)
{
    // Another process may take a port, or try it, between the allocator's look and ours.
    for (int left = 10;; left--) {
        ListeningSocket out;
        out.port = port;
        if (port == 0) {
            TRY(conf::check(virPortAllocatorAcquire(range, &out.port)));
            out.acquired = true;
        }
        auto fd = address.empty() ? listenAnywhere(out.port) : listenAt(address, out.port);
        if (fd) {
            out.fd = std::move(fd).value();
            return out;
        }
        if (out.acquired)
            virPortAllocatorRelease(out.port);
        if (!out.acquired || fd.error().errnum != EADDRINUSE || left == 0)
            return std::move(fd).error();
    }
}

Result<UniqueFd> connectTo(const Endpoint &endpoint)
{
    std::unique_ptr<GSocketClient, conf::FreeWith<g_object_unref>> client(g_socket_client_new());
    g_socket_client_set_timeout(client.get(), connectSeconds);
    g_socket_client_set_enable_proxy(client.get(), FALSE);
    GError *failure = nullptr;
    std::unique_ptr<GSocketConnection, conf::FreeWith<g_object_unref>> connection(
        g_socket_client_connect_to_host(client.get(), endpoint.host.c_str(), endpoint.port, nullptr, &failure));
    if (!connection) {
        base::Error error = makeError(ErrorCode::OperationFailed, tr("cannot connect to '%s': %s"),
                                      endpoint.uri().c_str(), failure->message);
        g_error_free(failure);
        return error;
    }
    UniqueFd fd(::fcntl(g_socket_get_fd(g_socket_connection_get_socket(connection.get())), F_DUPFD_CLOEXEC, 3));
    if (!fd)
        return systemError(errno, "%s", tr("cannot duplicate a socket"));
    // GSocket's are non-blocking; what is handed on blocks, and sends small messages at once.
    const int flags = ::fcntl(fd.get(), F_GETFL);
    const int on = 1;
    if (::fcntl(fd.get(), F_SETFL, flags & ~O_NONBLOCK) < 0 ||
        ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0)
        return systemError(errno, "%s", tr("cannot set up a socket"));
    return fd;
}

Result<std::vector<UniqueFd>> connectTo(const Endpoint &endpoint, unsigned count)
{
    std::vector<std::future<Result<UniqueFd>>> attempts;
    for (unsigned i = 1; i < count; i++)
        attempts.push_back(std::async(std::launch::async, [&endpoint] { return connectTo(endpoint); }));
    std::vector<UniqueFd> out;
    out.push_back(TRY(connectTo(endpoint)));
    for (auto &attempt : attempts)
        out.push_back(TRY(attempt.get()));
    return out;
}

} // namespace godwit::migration
