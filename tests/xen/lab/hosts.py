# SPDX-License-Identifier: LGPL-2.1-or-later
"""Both hosts of the lab."""
from . import files
from .image import Image, say
from .node import Node


class Lab:
    def __init__(self, build):
        self.build = build
        self.image = Image(build / "xen-lab/image")
        self.folder = build / "xen-lab/run"
        self.nodes = [Node(self.folder, number) for number in (1, 2)]

    def boot(self):
        """Boot both hosts at once."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.image.make_guest(self.build / "tests/guest/guest-init")
        files.make(self.folder / "files.tar", self.build, self.image)
        say("two Xen hosts boot")
        for node in self.nodes:
            node.boot(self.image, self.folder / "files.tar")
        for node in self.nodes:
            node.wait_booted()
        say("they are up")

    def attach(self):
        """Use the hosts that another run stays with; False if there are none."""
        return all(node.attach() for node in self.nodes)

    def stop(self):
        for node in self.nodes:
            node.stop()
