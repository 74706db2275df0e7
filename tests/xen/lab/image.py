# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a Xen host of the lab boots: made of the distribution's packages, kept for the next run.

In the lab's directory:
  kernel/           the distribution's kernel and modules (scripts/fetch-guest-kernel), and one driver more (usb_driver)
  xen.elf           its hypervisor, as QEMU loads it
  vmlinux           the kernel, unpacked: emulated machines are slow at that
  dom0.initrd       dom0's first programs
  dom0.ext4         dom0's root filesystem, not written to
  guest.initrd      the test guest's memory checker, with drivers for Xen's devices
"""
import gzip
import os
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[3]
DOM0 = SOURCE / "tests/xen/dom0"
sys.path += [str(SOURCE / "scripts"), str(SOURCE / "tests/guest")]
import initramfs
from private_apt import PrivateApt

from . import usb_driver

REVISION = 2  # one more whenever what this file does makes another image
XEN_VERSION = "4.17"
MODULES = ["virtio_pci", "virtio_blk", "virtio_net", "virtio_rng", "ext4", "crc32c_generic", "xenfs",
           "xen_privcmd", "xen_evtchn", "xen_gntdev", "xen_gntalloc", "xen_netback", "xen_blkback", "bridge",
           "loop", "tun", "e1000e", "xhci_pci", "usbhid", "hid_generic",
           "xen_pciback"]   # last: of two drivers that would have a device, the first one gets it
GUEST_MODULES = ["xen_blkfront", "xen_netfront", "xen_pcifront"]
BOTH = ["usb_common", "usbcore"]   # in dom0 and, for the driver that is built (lab/usb_driver.py), in guests

# Left out of the packages, for a smaller image.
UNWANTED = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*"]

began = time.monotonic()


def say(text):
    print(f"== {time.monotonic() - began:5.1f} s: {text}", file=sys.stderr, flush=True)


def package_list(path):
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line]


def debian_archives():
    """The machine's own sources of Debian packages, as entries for a sources.list."""
    found = subprocess.run(["apt-get", "indextargets", "--format", "$(ORIGIN) $(SITE) $(CODENAME) $(COMPONENT)",
                            "Created-By: Packages"], check=True, text=True, stdout=subprocess.PIPE).stdout
    words = [line.split() for line in found.splitlines()]
    return [f"deb {site} {suite} {component}" for origin, site, suite, component in
            (line for line in words if len(line) == 4) if origin == "Debian"]


def unpacked_kernel(image):
    """The kernel in a bzImage (Linux, Documentation/arch/x86/boot.rst)."""
    if image[0x202:0x206] != b"HdrS":
        raise ValueError("no Linux kernel")
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (image[0x1f1] + 1) * 512 + offset
    # Behind it stands its size when unpacked.
    unpacked = subprocess.run(["xz", "-dc"], input=image[start:start + length - 4], check=True,
                              stdout=subprocess.PIPE).stdout
    if unpacked[:4] != b"\x7fELF":
        raise ValueError("what the Linux kernel has packed is not itself")
    return unpacked


class Image:
    def __init__(self, folder):
        self.folder = folder
        self.kernel, self.xen = folder / "vmlinux", folder / "xen.elf"
        self.root, self.initrd = folder / "dom0.ext4", folder / "dom0.initrd"
        self.guest_initrd = folder / "guest.initrd"
        self.stamp = folder / "made-of"

    def recipe(self):
        """What the image is made of: another text, and it is made anew."""
        return repr((REVISION, XEN_VERSION, MODULES, GUEST_MODULES, UNWANTED, package_list(DOM0 / "packages"),
                     (DOM0 / "init").read_text()))

    def make(self):
        """Make what is missing; all of it if the recipe is a new one."""
        if self.stamp.exists() and self.stamp.read_text() == self.recipe():
            return
        if os.geteuid() != 0:
            sys.exit("only root can make the lab's image")
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        say("kernel")
        self.fetch_kernel()
        say("the guest's USB driver")
        self.make_usb_driver()
        say("hypervisor")
        self.fetch_hypervisor()
        say("dom0's packages")
        tree = self.folder / "dom0"
        self.install_dom0(tree)
        say("images")
        self.make_initrd(tree / "bin/busybox")
        self.make_root(tree)
        shutil.rmtree(tree)
        self.stamp.write_text(self.recipe())
        say("the image is made")

    def modules(self, chosen):
        """The module files, in loading order, for whose names `chosen(name)` holds."""
        return [path for path in sorted((self.folder / "kernel/modules").iterdir())
                if chosen(path.stem.partition("-")[2])]

    def fetch_kernel(self):
        subprocess.run([SOURCE / "scripts/fetch-guest-kernel", self.folder / "kernel", "linux-image-amd64",
                        *MODULES, *GUEST_MODULES], check=True)
        self.kernel.write_bytes(unpacked_kernel((self.folder / "kernel/vmlinuz").read_bytes()))

    def make_usb_driver(self):
        folder = self.folder / "usb"
        release = usb_driver.kernel_release(self.modules(lambda name: name == "usbcore")[0].read_bytes())
        built = usb_driver.make(folder, release)
        (self.folder / f"kernel/modules/99-{usb_driver.NAME}.ko").write_bytes(built)   # after what it depends on
        shutil.rmtree(folder)

    def fetch_hypervisor(self):
        apt = PrivateApt(self.folder / "apt", "deb")
        package = f"xen-hypervisor-{XEN_VERSION}-amd64"
        apt.call("apt-get", "update")
        apt.call("apt-get", "download", package)
        tree = self.folder / "hypervisor"
        subprocess.run(["dpkg", "-x", next(apt.download.glob(f"{package}_*.deb")), tree], check=True)
        self.xen.write_bytes(gzip.decompress((tree / f"boot/xen-{XEN_VERSION}-amd64.gz").read_bytes()))
        shutil.rmtree(tree)
        shutil.rmtree(self.folder / "apt")

    def install_dom0(self, tree):
        command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=essential", "--format=directory",
                   "--include=" + ",".join(package_list(DOM0 / "packages"))]
        command += [f"--dpkgopt=path-exclude={path}" for path in UNWANTED]
        subprocess.run([*command, "bookworm", tree, *debian_archives()], check=True, stdin=subprocess.DEVNULL)
        models = tree / "usr/share/libvirt/cpu_map/index.xml"
        text = models.read_text()
        ours = text.replace("<include filename='x86_EPYC.xml'/>",
                            "<include filename='x86_EPYC.xml'/>\n    <include filename='x86_lab.xml'/>")
        if ours == text:
            raise ValueError("libvirt's list of processors is not as expected")
        models.write_text(ours)

    def make_initrd(self, busybox):
        programs = {"init": (DOM0 / "init").read_bytes(), "busybox": busybox.read_bytes()}
        modules = self.modules(lambda name: name not in [*GUEST_MODULES, usb_driver.NAME])
        self.initrd.write_bytes(initramfs.archive(programs, modules))

    def make_root(self, tree):
        (tree / "guest").mkdir()
        shutil.copy(self.kernel, tree / "guest/vmlinux")
        used = int(subprocess.run(["du", "-sm", tree], check=True, text=True, stdout=subprocess.PIPE).stdout.split()[0])
        room = 3000  # MiB for what the tests write; takes no space until then
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=1,lazy_journal_init=1",
                        "-d", tree, self.root, f"{used + room}M"], check=True, stdout=subprocess.DEVNULL)

    def make_guest(self, init):
        """The guest with this /init: a matter of milliseconds, so made for each run."""
        modules = self.modules(lambda name: name in [*GUEST_MODULES, *BOTH, usb_driver.NAME])
        programs = dict.fromkeys(["init", "sbin/poweroff"], init.read_bytes())
        self.guest_initrd.write_bytes(initramfs.archive(programs, modules))
