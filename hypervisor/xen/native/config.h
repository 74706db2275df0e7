// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// What the sources of libvirt's that are built here find in the place of the config.h that its own build makes.
#include "conf/libvirt_config.h"

#define WITH_LIBXL 1
#define WITH_LIBXLUTIL_H 1
#define LIBXL_FIRMWARE_DIR "/usr/lib/xen/boot"   // as the distribution's libvirt has it
