// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/channel/certificates.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gnutls/x509.h>
#include <gtest/gtest.h>

namespace godwit::tests {

namespace {

void check(int code)
{
    EXPECT_GE(code, 0) << gnutls_strerror(code);
}

/// A key pair and its certificate.
struct Pair {
    Pair()
    {
        check(gnutls_x509_privkey_init(&key));
        check(gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0));
        check(gnutls_x509_crt_init(&certificate));
        check(gnutls_x509_crt_set_version(certificate, 3));
        check(gnutls_x509_crt_set_key(certificate, key));
        check(gnutls_x509_crt_set_activation_time(certificate, ::time(nullptr) - 7200));
    }
    Pair(const Pair &) = delete;
    Pair &operator=(const Pair &) = delete;
    ~Pair()
    {
        gnutls_x509_crt_deinit(certificate);
        gnutls_x509_privkey_deinit(key);
    }
    void describe(const std::string &name, unsigned char serial, time_t ends) const
    {
        check(gnutls_x509_crt_set_dn_by_oid(certificate, GNUTLS_OID_X520_COMMON_NAME, 0, name.data(),
                                            static_cast<unsigned>(name.size())));
        check(gnutls_x509_crt_set_serial(certificate, &serial, 1));
        check(gnutls_x509_crt_set_expiration_time(certificate, ends));
    }
    void sign(const Pair &by) const
    {
        check(gnutls_x509_crt_sign2(certificate, by.certificate, by.key, GNUTLS_DIG_SHA256, 0));
    }
    void write(const std::string &stem) const
    {
        gnutls_datum_t text{};
        check(gnutls_x509_crt_export2(certificate, GNUTLS_X509_FMT_PEM, &text));
        std::ofstream(stem + "-cert.pem").write(reinterpret_cast<char *>(text.data), text.size);
        gnutls_free(text.data);
        check(gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &text));
        std::ofstream(stem + "-key.pem").write(reinterpret_cast<char *>(text.data), text.size);
        gnutls_free(text.data);
    }
    gnutls_x509_privkey_t key = nullptr;
    gnutls_x509_crt_t certificate = nullptr;
};

} // namespace

Certificates::Certificates(const CertificateOptions &options)
{
    char name[] = "/tmp/godwit-tls-XXXXXX";
    directory_ = ::mkdtemp(name);
    const time_t ends = ::time(nullptr) + 3600;
    const Pair authority, server, client;
    authority.describe("test authority", 1, ends);
    check(gnutls_x509_crt_set_basic_constraints(authority.certificate, 1, -1));
    check(gnutls_x509_crt_set_key_usage(authority.certificate, GNUTLS_KEY_KEY_CERT_SIGN));
    authority.sign(authority);
    authority.write(directory_ + "/ca");
    server.describe(options.host, 2, options.serverEnds);
    check(gnutls_x509_crt_set_subject_alt_name(server.certificate, GNUTLS_SAN_DNSNAME, options.host.data(),
                                               static_cast<unsigned>(options.host.size()), GNUTLS_FSAN_SET));
    check(gnutls_x509_crt_set_key_purpose_oid(server.certificate, GNUTLS_KP_TLS_WWW_SERVER, 0));
    check(gnutls_x509_crt_set_key_usage(server.certificate, GNUTLS_KEY_DIGITAL_SIGNATURE));
    server.sign(authority);
    server.write(directory_ + "/server");
    client.describe("test client", 3, ends);
    check(gnutls_x509_crt_set_key_purpose_oid(client.certificate, GNUTLS_KP_TLS_WWW_CLIENT, 0));
    check(gnutls_x509_crt_set_key_usage(client.certificate, GNUTLS_KEY_DIGITAL_SIGNATURE));
    client.sign(authority);
    client.write(directory_ + "/client");
}

Certificates::~Certificates()
{
    std::filesystem::remove_all(directory_);
}

void Certificates::remove(const std::string &file) const
{
    std::filesystem::remove(directory_ + "/" + file);
}

void Certificates::replace(const std::string &file, const std::string &content) const
{
    std::ofstream(directory_ + "/" + file) << content;
}

} // namespace godwit::tests
