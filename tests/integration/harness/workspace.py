# SPDX-License-Identifier: LGPL-2.1-or-later
"""The directory of one test run: everything it makes is below, and everybody may read it."""
import atexit
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
        for process in self.processes():
            process.kill()
            process.wait_gone()
        shutil.rmtree(self.path)


def free_ports(count):
    """The first of `count` adjacent TCP ports that nobody uses."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            first = probe.getsockname()[1]
        if first + count > 65535:
            continue
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("0.0.0.0", port))
            return first
        except OSError:
            continue
