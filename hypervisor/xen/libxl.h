// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// libxl's C headers, and owners for what they hand out.

extern "C" {
#include <libxl.h>
#include <libxl_event.h>
#include <libxl_utils.h>
#include <xentoollog.h>
}

#include <cstdlib>
#include <memory>
#include <utility>

namespace godwit::hypervisor::xen {

struct CFree {
    void operator()(void *memory) const { std::free(memory); }
};
/// Text that libxl allocated.
using LibxlText = std::unique_ptr<char, CFree>;

/// A libxl structure, initialised where it is born and disposed of at the end of its scope.
template <typename T, void (*Init)(T *), void (*Dispose)(T *)>
class Owned
{
public:
    Owned() { Init(&value_); }
    ~Owned() { Dispose(&value_); }
    Owned(const Owned &) = delete;
    Owned &operator=(const Owned &) = delete;

    T *get() { return &value_; }
    T *operator->() { return &value_; }
    T &operator*() { return value_; }

private:
    T value_;
};

using DomainConfig = Owned<libxl_domain_config, libxl_domain_config_init, libxl_domain_config_dispose>;
using DomainInfo = Owned<libxl_dominfo, libxl_dominfo_init, libxl_dominfo_dispose>;
using PhysicalInfo = Owned<libxl_physinfo, libxl_physinfo_init, libxl_physinfo_dispose>;
using RestoreParams =
    Owned<libxl_domain_restore_params, libxl_domain_restore_params_init, libxl_domain_restore_params_dispose>;
using CpuMap = Owned<libxl_bitmap, libxl_bitmap_init, libxl_bitmap_dispose>;
using NodeMap = Owned<libxl_bitmap, libxl_bitmap_init, libxl_bitmap_dispose>;
using SchedulerParams =
    Owned<libxl_domain_sched_params, libxl_domain_sched_params_init, libxl_domain_sched_params_dispose>;
using Disk = Owned<libxl_device_disk, libxl_device_disk_init, libxl_device_disk_dispose>;
using Nic = Owned<libxl_device_nic, libxl_device_nic_init, libxl_device_nic_dispose>;
using Pci = Owned<libxl_device_pci, libxl_device_pci_init, libxl_device_pci_dispose>;
using Usb = Owned<libxl_device_usbdev, libxl_device_usbdev_init, libxl_device_usbdev_dispose>;
using UsbController = Owned<libxl_device_usbctrl, libxl_device_usbctrl_init, libxl_device_usbctrl_dispose>;

} // namespace godwit::hypervisor::xen
