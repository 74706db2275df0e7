# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the integration tests stand on: stock libvirtd and virsh, private directories, guests."""
