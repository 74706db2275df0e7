// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <ctime>
#include <string>

namespace godwit::tests {

/// What is special about the certificates of a test.
struct CertificateOptions {
    std::string host = "localhost";          ///< whose the server's certificate is
    time_t serverEnds = ::time(nullptr) + 3600;
};

/// A directory with an authority of its own and certificates for both sides, as TlsCredentials
/// read them; removed by the destructor.
class Certificates
{
public:
    explicit Certificates(const CertificateOptions &options = {});
    Certificates(const Certificates &) = delete;
    Certificates &operator=(const Certificates &) = delete;
    ~Certificates();

    const std::string &directory() const { return directory_; }
    void remove(const std::string &file) const;
    void replace(const std::string &file, const std::string &content) const;

private:
    std::string directory_;
};

} // namespace godwit::tests
