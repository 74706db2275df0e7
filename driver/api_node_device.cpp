// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/api.h"
#include "driver/connection.h"
#include "driver/entry.h"

#include <string_view>

namespace godwit::driver {

// The host's PCI devices: taken from its drivers by hand, given back, reset. libvirt's own code does it, and
// checks access; devices that guests have it leaves alone.

using base::ErrorCode;
using base::makeError;
using base::Result;
using base::tr;

static constexpr const char *takingDriver = "xen";

static Result<virHostdevManager *> devicesOf(virNodeDevicePtr device)
{
    if (virHostdevManager *devices = hostOf(device->conn).services().devices())
        return devices;
    return makeError(ErrorCode::Unsupported, "%s", tr("guests of this hypervisor get no host devices"));
}

static Result<void> detachNodeDeviceFlags(virNodeDevicePtr device, const char *driver, unsigned flags)
{
    TRY(checkFlags(flags, 0));
    virHostdevManager *devices = TRY(devicesOf(device));
    if (driver && std::string_view(driver) != takingDriver)
        return makeError(ErrorCode::InvalidArgument, tr("host devices are for driver '%s', not '%s'"), takingDriver, driver);
    return conf::check(virDomainDriverNodeDeviceDetachFlags(device, devices, takingDriver));
}

static Result<void> detachNodeDevice(virNodeDevicePtr device)
{
    return detachNodeDeviceFlags(device, nullptr, 0);
}

static Result<void> reattachNodeDevice(virNodeDevicePtr device)
{
    return conf::check(virDomainDriverNodeDeviceReAttach(device, TRY(devicesOf(device))));
}

static Result<void> resetNodeDevice(virNodeDevicePtr device)
{
    return conf::check(virDomainDriverNodeDeviceReset(device, TRY(devicesOf(device))));
}

void fillNodeDeviceApi(virHypervisorDriver &table)
{
    table.nodeDeviceDettach = entry<detachNodeDevice>;
    table.nodeDeviceDetachFlags = entry<detachNodeDeviceFlags>;
    table.nodeDeviceReAttach = entry<reattachNodeDevice>;
    table.nodeDeviceReset = entry<resetNodeDevice>;
}

} // namespace godwit::driver
