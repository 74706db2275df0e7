# SPDX-License-Identifier: LGPL-2.1-or-later
"""The directory of one test run: everything it makes is below, and everybody may read it."""
import atexit
import functools
import shutil
import socket
import tempfile
from pathlib import Path

from . import build, processes


class Workspace:
    """A directory with a short path (a socket's path has at most 107 bytes), which holds a
    copy of the build that an ordinary user can read too."""

    def __init__(self, parent="/tmp"):
        self.path = Path(tempfile.mkdtemp(prefix="gw.", dir=parent))
        self.path.chmod(0o755)
        atexit.register(self.remove)
        self.driver = self.folder("driver")
        self.consoles = self.folder("consoles", mode=0o777)
        self.images = self.folder("images", mode=0o777)
        self.helper, self.agent, self.launcher = map(self.copy, (build.HELPER, build.AGENT, build.LAUNCHER))
        self.kernel, self.initrd = self.copy(build.KERNEL), self.copy(build.INITRD)
        shutil.copy(build.MODULE, self.driver)
        (self.driver / "libvirt_driver_libxl.so").symlink_to(build.MODULE.name)

    def folder(self, name, mode=0o755):
        path = self.path / name
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(mode)
        return path

    def copy(self, source):
        """A copy of a file, that everybody can read."""
        target = self.path / source.name
        shutil.copy(source, target)
        target.chmod(target.stat().st_mode | 0o444)
        return target

    def processes(self):
        """The processes that belong to this test run."""
        return processes.below(self.path)

    def remove(self):
        """End what still runs and delete the directory; also done at exit."""
        atexit.unregister(self.remove)
        while found := self.processes():   # one may have started another meanwhile
            for process in found:
                process.kill()
                process.wait_gone()
        shutil.rmtree(self.path)


class Ports:
    """TCP ports of this process's own: tests run side by side. They are below those that the kernel
    gives to whoever connects. A socket that nobody else can have at the same time holds the share."""
    FIRST, SHARES, EACH = 12000, 150, 128

    def __init__(self):
        self.lock = socket.socket(socket.AF_UNIX)
        for share in range(self.SHARES):
            try:
                self.lock.bind(f"\0godwit-test-ports-{share}")
            except OSError:
                continue
            self.begin = self.FIRST + share * self.EACH
            self.used = 0
            return
        raise RuntimeError("too many tests at once")

    def take(self, count):
        """The first of `count` adjacent ports that nobody uses. The oldest come again at the end."""
        for _ in range(self.EACH):
            if self.used + count > self.EACH:
                self.used = 0
            first = self.begin + self.used
            self.used += count
            if all(map(is_free, range(first, first + count))):
                return first
        raise RuntimeError("no free ports")


def is_free(port):
    try:
        with socket.socket() as probe:
            probe.bind(("0.0.0.0", port))
        return True
    except OSError:
        return False


@functools.cache
def our_ports():
    return Ports()


def free_ports(count):
    return our_ports().take(count)
