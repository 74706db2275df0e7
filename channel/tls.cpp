// SPDX-License-Identifier: LGPL-2.1-or-later
#include "channel/tls.h"

#include "base/i18n.h"
#include "base/strprintf.h"

#include <cerrno>
#include <sys/socket.h>
#include <unistd.h>

namespace godwit::channel {

using namespace base;

// ---- certificates and keys ----------------------------------------------------------------

static Error tlsError(int code, const char *what)
{
    return makeError(ErrorCode::OperationFailed, tr("TLS: %s: %s"), what, gnutls_strerror(code));
}

static Result<void> checkReadable(const std::string &path)
{
    if (::access(path.c_str(), R_OK) < 0)
        return systemError(errno, tr("TLS: cannot read '%s'"), path.c_str());
    return {};
}

Result<std::unique_ptr<TlsCredentials>> TlsCredentials::load(Side side, TlsOptions options)
{
    std::unique_ptr<TlsCredentials> out(new TlsCredentials(side, std::move(options)));
    gnutls_certificate_credentials_t raw = nullptr;
    if (const int code = gnutls_certificate_allocate_credentials(&raw); code < 0)
        return tlsError(code, tr("no credentials"));
    out->credentials_.reset(raw);
    TRY(out->loadAuthority());
    TRY(out->loadOwn());
    return out;
}

Result<void> TlsCredentials::loadAuthority()
{
    const std::string authority = options_.directory + "/ca-cert.pem";
    TRY(checkReadable(authority));
    int code = gnutls_certificate_set_x509_trust_file(get(), authority.c_str(), GNUTLS_X509_FMT_PEM);
    if (code <= 0)   // how many there are
        return tlsError(code < 0 ? code : GNUTLS_E_NO_CERTIFICATE_FOUND, authority.c_str());
    const std::string revoked = options_.directory + "/ca-crl.pem";
    if (::access(revoked.c_str(), F_OK) < 0)
        return {};   // a list of revoked certificates need not be
    code = gnutls_certificate_set_x509_crl_file(get(), revoked.c_str(), GNUTLS_X509_FMT_PEM);
    return code < 0 ? tlsError(code, revoked.c_str()) : Result<void>();
}

/// A source may have no certificate, if its destination does not ask for one.
Result<void> TlsCredentials::loadOwn()
{
    const std::string stem = options_.directory + (side_ == Side::Source ? "/client" : "/server");
    const std::string certificate = stem + "-cert.pem", key = stem + "-key.pem";
    if (side_ == Side::Source && ::access(certificate.c_str(), F_OK) < 0 && ::access(key.c_str(), F_OK) < 0)
        return {};
    TRY(checkReadable(certificate));
    TRY(checkReadable(key));
    const int code = gnutls_certificate_set_x509_key_file(get(), certificate.c_str(), key.c_str(), GNUTLS_X509_FMT_PEM);
    return code < 0 ? tlsError(code, certificate.c_str()) : Result<void>();
}

// ---- the connection -----------------------------------------------------------------------

static bool mustWait(int code)
{
    return code == GNUTLS_E_AGAIN || code == GNUTLS_E_INTERRUPTED;
}

Result<std::unique_ptr<TlsSocket>> TlsSocket::make(UniqueFd fd, const TlsCredentials &credentials)
{
    std::unique_ptr<TlsSocket> out(new TlsSocket(std::move(fd), credentials));
    TRY(out->setUp());
    return out;
}

Result<void> TlsSocket::setUp()
{
    // No tickets: nothing comes back but what the destination says.
    const bool source = credentials_.side() == Side::Source;
    gnutls_session_t raw = nullptr;
    int code = gnutls_init(&raw, static_cast<unsigned>((source ? GNUTLS_CLIENT : GNUTLS_SERVER) | GNUTLS_NONBLOCK
                                                       | GNUTLS_NO_SIGNAL | GNUTLS_NO_TICKETS));
    if (code < 0)
        return tlsError(code, tr("no session"));
    session_.reset(raw);
    if (code = gnutls_set_default_priority(raw); code < 0)
        return tlsError(code, tr("no priorities"));
    if (code = gnutls_credentials_set(raw, GNUTLS_CRD_CERTIFICATE, credentials_.get()); code < 0)
        return tlsError(code, tr("no credentials"));
    const std::string &name = credentials_.options().peerName;
    if (source) {
        gnutls_session_set_verify_cert(raw, name.c_str(), 0);
        const bool isAddress = name.find_first_not_of("0123456789.") == name.npos || name.find(':') != name.npos;
        if (!isAddress)
            gnutls_server_name_set(raw, GNUTLS_NAME_DNS, name.data(), name.size());
    } else if (credentials_.options().verifyPeer) {
        gnutls_certificate_server_set_request(raw, GNUTLS_CERT_REQUIRE);
        gnutls_session_set_verify_cert(raw, nullptr, 0);
    }
    gnutls_transport_set_ptr(raw, this);
    gnutls_transport_set_pull_function(raw, pull);
    gnutls_transport_set_vec_push_function(raw, push);
    return {};
}

ssize_t TlsSocket::pull(gnutls_transport_ptr_t self, void *into, size_t size)
{
    auto &socket = *static_cast<TlsSocket *>(self);
    const ssize_t count = ::recv(socket.fd(), into, size, MSG_DONTWAIT);
    socket.pullError_ = count < 0 ? errno : 0;
    return count;
}

ssize_t TlsSocket::push(gnutls_transport_ptr_t self, const giovec_t *parts, int count)
{
    auto &socket = *static_cast<TlsSocket *>(self);
    msghdr message{};
    message.msg_iov = const_cast<giovec_t *>(parts);
    message.msg_iovlen = static_cast<size_t>(count);
    const ssize_t sent = ::sendmsg(socket.fd(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    socket.pushError_ = sent < 0 ? errno : 0;
    return sent;
}

/// What went wrong, in GnuTLS's words, which say what is the matter with a certificate.
Error TlsSocket::explain(int code) const
{
    std::string why = gnutls_strerror(code);
    if (code == GNUTLS_E_FATAL_ALERT_RECEIVED) {
        const char *alert = gnutls_alert_get_name(gnutls_alert_get(session_.get()));
        why = base::strprintf(tr("the other side answers: %s"), alert ? alert : "?");
    }
    if (code == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR) {
        gnutls_datum_t text{};
        const unsigned status = gnutls_session_get_verify_cert_status(session_.get());
        if (gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &text, 0) == 0) {
            why = reinterpret_cast<const char *>(text.data);
            gnutls_free(text.data);
        }
    }
    if (credentials_.side() == Side::Source)
        return makeError(ErrorCode::OperationFailed, tr("TLS with '%s': %s"), credentials_.options().peerName.c_str(),
                         why.c_str());
    return makeError(ErrorCode::OperationFailed, tr("TLS: %s"), why.c_str());
}

Result<bool> TlsSocket::handshakeSome()
{
    for (;;) {
        const int code = gnutls_handshake(session_.get());
        if (code == GNUTLS_E_SUCCESS)
            return true;
        if (mustWait(code))
            return false;
        if (!gnutls_error_is_fatal(code))
            continue;
        // Best effort: the other side is to know why.
        gnutls_alert_send_appropriate(session_.get(), code);
        return explain(code);
    }
}

short TlsSocket::waitsFor() const
{
    return gnutls_record_get_direction(session_.get()) ? POLLOUT : POLLIN;
}

Result<void> TlsSocket::handshake(Clock::time_point deadline)
{
    while (!TRY(handshakeSome()))
        if (!TRY(waitUntil(fd(), waitsFor(), deadline)))
            return makeError(ErrorCode::TimedOut, tr("TLS: the other side does not finish the handshake"));
    return {};
}

Result<std::optional<size_t>> TlsSocket::sendSome(std::span<const iovec> parts)
{
    // GnuTLS encrypts from where the data is, a record (16 KiB) at a time.
    constexpr size_t enough = 256 * 1024;
    size_t done = 0;
    while (!parts.empty() && done < enough) {
        size_t sentHere = 0;
        while (sentHere < parts[0].iov_len && done < enough) {
            const auto *from = static_cast<const std::byte *>(parts[0].iov_base) + sentHere;
            const ssize_t count = unfinished_
                ? gnutls_record_send(session_.get(), nullptr, 0)
                : gnutls_record_send(session_.get(), from, parts[0].iov_len - sentHere);
            if (count < 0 && !mustWait(static_cast<int>(count))) {
                if (pushError_)
                    return systemError(pushError_, tr("cannot send on the data connection"));
                return explain(static_cast<int>(count));
            }
            unfinished_ = count < 0;
            if (unfinished_)
                return done > 0 ? std::optional(done) : std::nullopt;
            sentHere += static_cast<size_t>(count);
            done += static_cast<size_t>(count);
        }
        parts = parts.subspan(1);
    }
    return std::optional(done);
}

Result<std::optional<size_t>> TlsSocket::receiveSome(std::span<std::byte> into)
{
    const ssize_t count = gnutls_record_recv(session_.get(), into.data(), into.size());
    if (count >= 0)
        return std::optional(static_cast<size_t>(count));
    const int code = static_cast<int>(count);
    if (!gnutls_error_is_fatal(code))
        return std::optional<size_t>();
    // What comes says by itself where it ends: a connection that is cut is as one that is closed.
    if (code == GNUTLS_E_PREMATURE_TERMINATION || pullError_ == ECONNRESET)
        return std::optional<size_t>(0);
    if (pullError_)
        return systemError(pullError_, tr("cannot read the data connection"));
    return explain(code);
}

Result<std::unique_ptr<Socket>> openSource(UniqueFd fd, const TlsCredentials *tls, milliseconds patience)
{
    if (!tls)
        return std::make_unique<Socket>(std::move(fd));
    auto socket = TRY(TlsSocket::make(std::move(fd), *tls));
    TRY(socket->handshake(Clock::now() + patience));
    return std::unique_ptr<Socket>(std::move(socket));
}

} // namespace godwit::channel
