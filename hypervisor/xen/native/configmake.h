// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// Directories that libvirt's build chooses: nothing of what is built here uses one.
