# SPDX-License-Identifier: LGPL-2.1-or-later
"""The lab: two Xen hosts in QEMU's software emulation, and what their guests say."""
