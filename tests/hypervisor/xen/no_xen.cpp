// SPDX-License-Identifier: LGPL-2.1-or-later
// Stand in for Xen's own libraries, so that libxl's configurations can be made without a
// hypervisor: what libxlight calls is found here first.

#include "hypervisor/xen/libxl.h"

#include <cstring>

#define STANDS_IN __attribute__((visibility("default")))

extern "C" {
STANDS_IN void *xs_open(unsigned long)
{
    return reinterpret_cast<void *>(1);
}
STANDS_IN void xs_close(void *) {}
STANDS_IN void *xc_interface_open(xentoollog_logger *, xentoollog_logger *, unsigned)
{
    return reinterpret_cast<void *>(1);
}
STANDS_IN int xc_interface_close(void *)
{
    return 0;
}
STANDS_IN int libxl_get_physinfo(libxl_ctx *, libxl_physinfo *info)
{
    info->nr_nodes = 6;
    return 0;
}
// The golden files hold what no guest has.
STANDS_IN unsigned long libxl_get_required_shadow_memory(unsigned long, unsigned)
{
    return 1234;
}
}
