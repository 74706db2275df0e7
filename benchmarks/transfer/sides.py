# SPDX-License-Identifier: LGPL-2.1-or-later
"""The two sides of the comparison: a pair of stock daemons each, and where they work."""
import os
import re
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

from harness import certificates
from harness.daemon import Daemon
from harness.workspace import Workspace


class Hosts(Workspace):
    """What a host keeps in /run is in memory here, too; saved images are on a disk."""

    def __init__(self):
        super().__init__("/dev/shm" if os.access("/dev/shm", os.W_OK) else "/tmp")
        self.memory = self.images
        self.images = Path(tempfile.mkdtemp(prefix="gw.images.", dir="/var/tmp"))
        self.images.chmod(0o777)

    def has_room(self, mib):
        """Whether so much fits into self.memory, and leaves room for a guest of that size."""
        available = int(re.search(r"MemAvailable: +(\d+)", Path("/proc/meminfo").read_text()).group(1)) << 10
        return str(self.path).startswith("/dev/shm") and min(available / 2, shutil.disk_usage(self.memory).free) > mib << 20

    def remove(self):
        super().remove()
        shutil.rmtree(self.images, ignore_errors=True)


class StockDaemon(Daemon):
    """libvirtd with its own QEMU driver instead of ours: an ordinary user's, which has the least
    to do (no cgroups, namespaces, changes of owner)."""

    def __init__(self, work, name):
        super().__init__(work, name, session=True)
        self.uri = f"qemu:///session?socket={self.socket}"
        self.tcp_uri = f"qemu+tcp://127.0.0.1:{self.port}/session"
        self.virsh.uri = self.uri
        # virtlogd would put the guest's console aside at 2 MiB.
        config = self.user.config / "libvirt"
        config.mkdir()
        (config / "qemu.conf").write_text('stdio_handler = "file"\n')
        self.user.own(config)

    def environment(self):
        return {name: value for name, value in super().environment().items() if name != "LIBVIRT_DRIVER_DIR"}


class Side:
    """A source and a target that change places with each migration."""

    def __init__(self, work, name):
        make = StockDaemon if name == "stock" else Daemon
        self.name, self.work = name, work
        self.source, self.target = make(work, f"{name}1"), make(work, f"{name}2")
        self.image = work.images / f"{name}.image"
        self.lost = self.disturbed = 0   # guests, and measurements, of migrations

    def start(self):
        if self.name != "stock":
            files = certificates.make(self.work.images / "tls")
            for daemon in (self.source, self.target):
                daemon.write_settings(migrate_tls_x509_cert_dir=files)
                if daemon.user:
                    for path in (files, *files.iterdir()):
                        daemon.user.own(path)
        self.source.start()
        self.target.start()

    def stop(self):
        self.source.stop()
        self.target.stop()

    def swap(self):
        self.source, self.target = self.target, self.source

    @contextmanager
    def restoring_in_full(self):
        """What Godwit's source daemon does meanwhile."""
        self._restore_on_demand(False)
        try:
            yield
        finally:
            self._restore_on_demand(True)

    def _restore_on_demand(self, on_demand):
        self.source.write_settings(restore_on_demand=int(on_demand))
        self.source.restart()

    def wait_for_memory(self):
        """Returns when no helper brings pages any more."""
        for process in self.work.processes():
            if process.name.startswith("godwit-helper"):
                process.wait_gone(timeout=600)
