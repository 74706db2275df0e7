// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// Stands in for the config.h that libvirt's build generates: its internal headers need
// only these. No structure's layout depends on a WITH_ symbol.
#include <features.h>

#define PACKAGE "libvirt"
#define WITH_LIBINTL_H 1
#define WITH_GETUID 1
#define WITH_GETEUID 1
#define WITH_GETGID 1
#define WITH_GETEGID 1
#define WITH_NET_IF_H 1
#define WITH_STRUCT_IFREQ 1
