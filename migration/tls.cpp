// SPDX-License-Identifier: LGPL-2.1-or-later
#include "migration/tls.h"

#include "base/i18n.h"

namespace godwit::migration {

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::tr;

static Result<void> checkTls(virNetTLSContext *context)
{
    if (!context)
        return conf::takeLibvirtError().in("TLS");
    virObjectUnref(context);
    return {};
}

Result<void> checkSourceTls(const conf::Settings &settings)
{
    const std::string &in = settings.tlsDirectory;
    return checkTls(virNetTLSContextNewClient((in + "/ca-cert.pem").c_str(), (in + "/ca-crl.pem").c_str(),
                                              (in + "/client-cert.pem").c_str(), (in + "/client-key.pem").c_str(),
                                              nullptr, true, true));
}

Result<void> checkDestinationTls(const conf::Settings &settings)
{
    const std::string &in = settings.tlsDirectory;
    return checkTls(virNetTLSContextNewServer((in + "/ca-cert.pem").c_str(), (in + "/ca-crl.pem").c_str(),
                                              (in + "/server-cert.pem").c_str(), (in + "/server-key.pem").c_str(),
                                              nullptr, nullptr, true, true));
}

Result<void> checkTlsForce(const conf::Settings &settings, unsigned flags)
{
    if (settings.tlsForce && !(flags & VIR_MIGRATE_TLS))
        return makeError(ErrorCode::Unsupported, "%s",
                         tr("this host migrates with TLS only: give --tls (migrate_tls_force in godwit.conf)"));
    return {};
}

} // namespace godwit::migration
