# SPDX-License-Identifier: LGPL-2.1-or-later
"""The distribution's hypervisor with shadow paging, by which Xen finds the pages that PV guests write.

The distribution leaves that out; so this is built from its source package, with its patches, its
configuration and that one option more, and kept for the next run.
"""
import os
import re
import shutil
import subprocess
from functools import cmp_to_key

from .image import XEN_VERSION, PrivateApt, say
from private_apt import AptError

OPTION = "CONFIG_SHADOW_PAGING=y"


def newest_first(versions):
    def compare(left, right):
        if left == right:
            return 0
        return -1 if subprocess.run(["dpkg", "--compare-versions", left, "gt", right]).returncode == 0 else 1
    return sorted(set(versions), key=cmp_to_key(compare))


class ShadowHypervisor:
    def __init__(self, folder):
        self.folder = folder
        self.xen = folder / "xen.elf"
        self.log = folder / "make.log"

    def make(self):
        """Build it, unless it is there: remove its folder for a newer one."""
        if self.xen.exists():
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        say("source of a hypervisor with shadow paging")
        version, tree = self.fetch()
        say(f"Xen {version} is built")
        self.build(tree / "xen", version)
        shutil.copyfile(tree / "xen/xen", self.folder / "xen.partial")
        shutil.rmtree(self.folder / "apt")
        (self.folder / "xen.partial").rename(self.xen)

    def fetch(self):
        """The newest version whose source the archive has, which is mostly that of its packages; its unpacked tree."""
        apt = PrivateApt(self.folder / "apt", "deb-src")
        apt.call("apt-get", "update")
        known = re.findall(rf"(?m)^Version: ({re.escape(XEN_VERSION)}\S+)", apt.call("apt-cache", "showsrc", "xen"))
        for version in newest_first(known):
            try:
                apt.call("apt-get", "source", "--only-source", f"xen={version}")
            except AptError as error:
                say(f"the archive does not hand out the source of Xen {version}")
                failure = error
                continue
            return version, next(path for path in apt.download.iterdir() if path.is_dir())
        raise failure if known else AptError(f"the archive has no source of Xen {XEN_VERSION}")

    def build(self, tree, version):
        config = (tree.parent / "debian/xen-kconfig").read_text()
        (tree / ".config").write_text(f"{config}\n{OPTION}\n")
        environment = {**os.environ, "DEB_VERSION": f"{version} with shadow paging"}
        with self.log.open("w") as log:
            self.run_make(tree, environment, log, "olddefconfig")
            if OPTION not in (tree / ".config").read_text().splitlines():
                raise ValueError(f"Xen {version} does not know {OPTION}")
            self.run_make(tree, environment, log, f"-j{os.cpu_count()}")

    def run_make(self, tree, environment, log, target):
        """Telling how far it is: some 400 files."""
        compiled = 0
        with subprocess.Popen(["make", "-C", tree, target], env=environment, text=True, errors="replace",
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as make:
            for line in make.stdout:
                log.write(line)
                if re.match(r"\s*CC\s", line):
                    compiled += 1
                    if compiled % 100 == 0:
                        say(f"{compiled} files are compiled")
        if make.returncode != 0:
            log.flush()
            raise subprocess.CalledProcessError(make.returncode, f"make; see {self.log}")
