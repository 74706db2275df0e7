# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a run adds to dom0's root filesystem: the build under test, the lab's scripts, the guest.

It is a tar archive, and a disk of the machine: dom0's first program unpacks it.
"""
import subprocess
import tarfile

from .image import DOM0

STOCK_DRIVERS = "/usr/lib/x86_64-linux-gnu/libvirt/connection-driver"


def installed(build, folder):
    """The build under test, as its installation puts it there."""
    subprocess.run(["meson", "install", "--quiet", "--no-rebuild", "--strip", "-C", build, "--destdir", folder],
                   check=True, stdout=subprocess.DEVNULL)


def link(archive, name, target):
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = tarfile.SYMTYPE, str(target)
    archive.addfile(entry)


def make(path, build, image):
    """Write the archive for the build in directory `build`."""
    destination = image.folder / "installed"
    installed(build, destination)
    with tarfile.open(path, "w") as archive:
        for folder in ("etc", "lab", "usr"):
            archive.add(DOM0 / folder, folder, filter=owned_by_root)
        archive.add(destination, ".", filter=owned_by_root)
        archive.add(build / "tests/hypervisor/xen_resume", "lab/resume", filter=owned_by_root)
        archive.add(image.folder / "kernel/vmlinuz", "guest/vmlinuz")
        archive.add(image.guest_initrd, "guest/initrd")
        module = next(destination.rglob("libvirt_driver_godwit.so")).relative_to(destination)
        link(archive, "lab/drivers/godwit/libvirt_driver_libxl.so", f"/{module}")
        link(archive, "lab/drivers/stock/libvirt_driver_libxl.so", f"{STOCK_DRIVERS}/libvirt_driver_libxl.so")
        for driver in ("godwit", "stock"):   # which knows the host's PCI devices
            name = "libvirt_driver_nodedev.so"
            link(archive, f"lab/drivers/{driver}/{name}", f"{STOCK_DRIVERS}/{name}")


def owned_by_root(entry):
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry
