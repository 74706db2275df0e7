// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// What libvirt's driver for Xen does around a guest, beside letting it run: the administrator's hook
// scripts, a lock manager's leases of the guest's disks, and host devices that are taken from the host's
// own drivers and given back. A machine guest's Host has none of it: there every call does nothing.
//
// The domain is locked in all of this, as in libvirt's drivers: a hook script must not ask libvirtd about it.

#include "base/result.h"
#include "conf/handle.h"
#include "conf/settings.h"

#include <memory>

namespace godwit::domain {

class Domain;
class Host;

class Services
{
public:
    Services() = default;
    static base::Result<Services> forXen(const conf::Settings &settings);

    /// Nothing of the guest is there but its live definition; whatever fails, stopped() follows.
    base::Result<void> prepare(Domain &domain);
    /// Networks have told by now which host devices are theirs.
    base::Result<void> takeDevices(Domain &domain);
    base::Result<void> aboutToStart(Domain &domain);
    /// The guest is whole, and about to run (or to stay paused).
    base::Result<void> aboutToRun(Domain &domain);
    /// A running guest was taken up.
    void reconnected(Domain &domain);
    /// The guest is gone.
    void stopped(Domain &domain);
    /// And so is all that it had.
    void released(Domain &domain);

    /// A definition that comes in, as the administrator wants it here: the same machine for the guest.
    base::Result<conf::DomainDef> filterIncoming(Host &host, conf::DomainDef def);

    /// The leases of a guest that stands still here, and may run elsewhere.
    void yieldLeases(Domain &domain);
    base::Result<void> holdLeases(Domain &domain);

    /// A disk or host device that is to be plugged in.
    base::Result<void> takeDevice(Domain &domain, virDomainDeviceDef *device);
    /// One that was unplugged, or did not come in.
    void giveDeviceBack(Domain &domain, virDomainDeviceDef *device);

    /// Null: host devices are nobody's here.
    virHostdevManager *devices() const { return devices_.get(); }

private:
    base::Result<void> hook(const Domain &domain, virHookLibxlOpType operation, virHookSubopType when) const;
    void tryHook(const Domain &domain, virHookLibxlOpType operation, virHookSubopType when) const;

    bool hooks_ = false;
    std::unique_ptr<virLockManagerPlugin, conf::FreeWith<virLockManagerPluginUnref>> locks_;
    conf::ObjectRef<virHostdevManager> devices_;
};

} // namespace godwit::domain
