// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// TLS on a data connection, by GnuTLS: certificates and keys as libvirt's users know them.

#include "channel/socket.h"

#include <gnutls/gnutls.h>
#include <memory>
#include <string>

namespace godwit::channel {

enum class Side { Source, Destination };

struct TlsOptions {
    std::string directory;        ///< with ca-cert.pem and server-*.pem or client-*.pem
    bool verifyPeer = true;       ///< Destination: a source needs a certificate, too
    std::string peerName;         ///< Source: whose certificate the destination must have
};

/// What a side shows of itself and believes of the other; for all of a migration's connections.
class TlsCredentials
{
public:
    /// Reads the files, so that none needs to be read later.
    static base::Result<std::unique_ptr<TlsCredentials>> load(Side side, TlsOptions options);

    Side side() const { return side_; }
    const TlsOptions &options() const { return options_; }
    gnutls_certificate_credentials_t get() const { return credentials_.get(); }

private:
    TlsCredentials(Side side, TlsOptions options) : side_(side), options_(std::move(options)) {}
    base::Result<void> loadAuthority();
    base::Result<void> loadOwn();

    struct Free {
        void operator()(gnutls_certificate_credentials_t credentials) const
        {
            gnutls_certificate_free_credentials(credentials);
        }
    };
    const Side side_;
    const TlsOptions options_;
    std::unique_ptr<std::remove_pointer_t<gnutls_certificate_credentials_t>, Free> credentials_;
};

class TlsSocket : public Socket
{
public:
    /// `credentials` are borrowed for the socket's life.
    static base::Result<std::unique_ptr<TlsSocket>> make(base::UniqueFd fd, const TlsCredentials &credentials);

    /// Go on with the handshake; true once it is done and the peer is who it should be, false
    /// when waiting for it.
    base::Result<bool> handshakeSome();
    /// What the handshake waits for: POLLIN or POLLOUT.
    short waitsFor() const;
    /// All of it.
    base::Result<void> handshake(Clock::time_point deadline);

    base::Result<std::optional<size_t>> sendSome(std::span<const iovec> parts) override;
    base::Result<std::optional<size_t>> receiveSome(std::span<std::byte> into) override;

private:
    TlsSocket(base::UniqueFd fd, const TlsCredentials &credentials)
        : Socket(std::move(fd)), credentials_(credentials)
    {
    }
    base::Result<void> setUp();
    base::Error explain(int code) const;
    static ssize_t pull(gnutls_transport_ptr_t self, void *into, size_t size);
    static ssize_t push(gnutls_transport_ptr_t self, const giovec_t *parts, int count);

    struct Free {
        void operator()(gnutls_session_t session) const { gnutls_deinit(session); }
    };
    const TlsCredentials &credentials_;
    std::unique_ptr<std::remove_pointer_t<gnutls_session_t>, Free> session_;
    bool unfinished_ = false;     ///< a record that GnuTLS has taken is not out yet
    int pullError_ = 0, pushError_ = 0;   ///< errno; of the thread that receives, that sends
};

/// A source's connection; with TLS (null: without) the peer has shown who it is, before it is shown a secret.
base::Result<std::unique_ptr<Socket>> openSource(base::UniqueFd fd, const TlsCredentials *tls, milliseconds patience);

} // namespace godwit::channel
