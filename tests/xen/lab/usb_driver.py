# SPDX-License-Identifier: LGPL-2.1-or-later
"""The guest's driver of Xen's USB controllers, xen-hcd, which the distribution's kernel is configured without.

So it is built from the source package of that kernel, against that kernel's headers.
"""
import re
import subprocess

from private_apt import PrivateApt

SOURCE_FILE = "drivers/usb/host/xen-hcd.c"
NAME = "xen_hcd"


def kernel_release(module):
    """Of the kernel that a module's bytes are for."""
    return re.search(rb"\0vermagic=(\S+)", module).group(1).decode()


def packages(release):
    """Its headers (two packages), what builds modules, its source: by their names."""
    abi, flavour = release.rsplit("-", 1)
    version = re.match(r"\d+\.\d+", release).group(0)
    return [f"linux-headers-{abi}-{flavour}", f"linux-headers-{abi}-common", f"linux-kbuild-{version}",
            f"linux-source-{version}"]


def unpack_source(package, folder):
    """That one file of the kernel's source, an archive of 1 GB in the package."""
    folder.mkdir()
    name = package.name.split("_")[0]
    subprocess.run(["bash", "-c", """dpkg-deb --fsys-tarfile "$1" | tar -x -O "./usr/src/$2.tar.xz" |
                    tar -x -J -C "$3" --strip-components=4 --occurrence=1 "$2/$4" """,
                    "unpack", package, name, folder, SOURCE_FILE], check=True, stderr=subprocess.DEVNULL)


def make(folder, release):
    """The built module's bytes, for the kernel of this `release`; `folder` is for what that needs."""
    apt = PrivateApt(folder / "apt", "deb")
    apt.call("apt-get", "update")
    apt.call("apt-get", "download", *packages(release))
    tree, module = folder / "tree", folder / "module"
    *tools, source = [next(apt.download.glob(f"{name}_*.deb")) for name in packages(release)]
    for package in tools:
        subprocess.run(["dpkg", "-x", package, tree], check=True)
    unpack_source(source, module)
    headers = tree / f"usr/src/linux-headers-{release}"
    makefile = headers / "Makefile"   # which names the others by where they would be installed
    makefile.write_text(makefile.read_text().replace("/usr/src", str(tree / "usr/src")))
    (module / "Makefile").write_text("obj-m := xen-hcd.o\n")
    with (folder / "make.log").open("w") as log:
        subprocess.run(["make", "-C", headers, f"M={module}", "modules"], check=True, stdin=subprocess.DEVNULL,
                       stdout=log, stderr=subprocess.STDOUT)
    built = module / "xen-hcd.ko"
    subprocess.run(["strip", "--strip-debug", built], check=True)
    return built.read_bytes()
