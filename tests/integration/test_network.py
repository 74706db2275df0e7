#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""NICs on a bridge of the host, and on a network of libvirt's own network driver."""
import os
import subprocess
import sys
import unittest
from pathlib import Path

from harness import tap
from harness.case import Case
from harness.guest import Guest
from harness.virsh import Virsh

ALONE = "GODWIT_TEST_ALONE"   # set: this process has a network and mounts of its own
NETWORK_MODULES = list(Path("/usr/lib").glob("*/libvirt/connection-driver/libvirt_driver_network.so"))
BRIDGE = "godwit0"


def be_alone():
    """Begin again where nothing of the host's network and libvirt can be touched; a no if that cannot be."""
    if os.environ.get(ALONE):
        for folder in ("/run/libvirt", "/var/lib/libvirt", "/etc/libvirt"):
            if os.path.isdir(folder):
                subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=True)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return True
    unshare = ["unshare", "--net", "--mount", "--propagation", "private"]
    probe = f"ip link add {BRIDGE} type bridge && ip tuntap add mode tap"
    if os.geteuid() != 0 or subprocess.run([*unshare, "sh", "-c", probe], capture_output=True, check=False).returncode != 0:
        return False
    os.execvpe(unshare[0], [*unshare, sys.executable, *sys.argv], {**os.environ, ALONE: "1"})


@unittest.skipUnless(be_alone(), "needs the right to make networks")
class Nics(Case):
    @classmethod
    def configure(cls, daemon):
        for module in NETWORK_MODULES:
            (cls.work.driver / module.name).symlink_to(module)

    def setUp(self):
        super().setUp()
        self.ip("add", BRIDGE, "type", "bridge")
        self.addCleanup(self.ip, "delete", BRIDGE)
        self.ip("set", BRIDGE, "up")

    def ip(self, *words):
        subprocess.run(["ip", "link", *words], check=True)

    def taps(self):
        """The network devices on the bridge."""
        shown = subprocess.run(["ip", "-brief", "link", "show", "master", BRIDGE], check=True, capture_output=True,
                               text=True).stdout
        return [line.split()[0] for line in shown.splitlines()]

    def live(self, source, ports=lambda: None):
        """A guest with such a NIC comes, is saved, comes back and goes, and with it its tap device
        and what `ports` tells of it."""
        virsh = self.source.virsh
        self.boot(self.source, Guest(self.work, devices=f"{source}<model type='virtio'/></interface>"))
        image = self.work.images / "nic"
        nothing = "" if ports() else None
        for _ in range(2):
            taps = self.taps()
            self.assertEqual(len(taps), 1)
            self.assertIn(taps[0], virsh("domiflist", "guest"))
            self.assertIn("rx_bytes", virsh("domifstat", "guest", taps[0]))
            virsh("save", "guest", image)
            self.assertEqual((self.taps(), ports()), ([], nothing))
            virsh("restore", image)
        virsh("destroy", "guest")
        self.assertEqual((self.taps(), ports()), ([], nothing))
        image.unlink()

    def test_on_a_bridge(self):
        self.live(f"<interface type='bridge'><source bridge='{BRIDGE}'/>")

    @unittest.skipUnless(NETWORK_MODULES, "needs libvirt's network driver")
    def test_on_a_network_of_libvirts_own_driver(self):
        networks = Virsh(f"network:///system?socket={self.source.socket}")
        path = self.work.images / "network.xml"
        path.write_text(f"<network><name>lan</name><forward mode='bridge'/><bridge name='{BRIDGE}'/></network>")
        networks("net-create", path)
        self.addCleanup(networks, "net-destroy", "lan")
        self.live("<interface type='network'><source network='lan'/>", lambda: networks("net-port-list", "lan"))


if __name__ == "__main__":
    tap.main()
