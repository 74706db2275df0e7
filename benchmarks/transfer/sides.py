# SPDX-License-Identifier: LGPL-2.1-or-later
"""The two sides of the comparison: a pair of stock session daemons each."""
from harness.daemon import Daemon


class StockDaemon(Daemon):
    """libvirtd with its own QEMU driver instead of ours."""

    def __init__(self, work, name):
        super().__init__(work, name, session=True)
        self.uri = f"qemu:///session?socket={self.socket}"
        self.tcp_uri = f"qemu+tcp://127.0.0.1:{self.port}/session"
        self.virsh.uri = self.uri

    def environment(self):
        return {name: value for name, value in super().environment().items() if name != "LIBVIRT_DRIVER_DIR"}


class Side:
    """A source and a target that change places with each migration."""

    def __init__(self, work, name):
        make = StockDaemon if name == "stock" else lambda *args: Daemon(*args, session=True)
        self.name = name
        self.source, self.target = make(work, f"{name}1"), make(work, f"{name}2")
        self.image = work.images / f"{name}.image"

    def start(self):
        self.source.start()
        self.target.start()

    def stop(self):
        self.source.stop()
        self.target.stop()

    def swap(self):
        self.source, self.target = self.target, self.source
