# SPDX-License-Identifier: LGPL-2.1-or-later
"""Both hosts of the lab."""
from . import files
from .hypervisor import ShadowHypervisor
from .image import Image, say
from .node import Node


class Lab:
    def __init__(self, build):
        self.build = build
        self.image = Image(build / "xen-lab/image")
        # What boots the hosts: the distribution's, or its with shadow paging.
        self.hypervisors = {"stock": self.image, "shadow": ShadowHypervisor(build / "xen-lab/shadow")}
        self.hypervisor = None   # of the hosts that are up
        self.folder = build / "xen-lab/run"
        self.nodes = [Node(self.folder, number) for number in (1, 2)]

    def use(self, hypervisor):
        """Boot both hosts at once, unless they are up with it."""
        if self.hypervisor == hypervisor:
            return
        self.stop()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.image.make_guest(self.build / "tests/guest/guest-init")
        files.make(self.folder / "files.tar", self.build, self.image)
        say(f"two Xen hosts boot, with the {hypervisor} hypervisor")
        xen = self.hypervisors[hypervisor].xen
        for node in self.nodes:
            node.boot(self.image, hypervisor, xen, self.folder / "files.tar")
        for node in self.nodes:
            node.wait_booted()
        self.hypervisor = hypervisor
        say("they are up")

    def attach(self):
        """Use the hosts that another run stays with; False if there are none."""
        attached = all(node.attach() for node in self.nodes)
        self.hypervisor = self.nodes[0].hypervisor if attached else None
        return attached

    def stop(self):
        for node in self.nodes:
            node.stop()
        self.hypervisor = None
