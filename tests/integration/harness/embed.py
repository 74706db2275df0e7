# SPDX-License-Identifier: LGPL-2.1-or-later
"""The base of tests in which virsh alone runs the driver."""
import unittest

from .guest import Guest
from .virsh import Virsh
from .workspace import Workspace


class EmbedCase(unittest.TestCase):
    """Each test has a root, and virsh on it."""

    def setUp(self):
        self.work = Workspace()
        self.addCleanup(self.work.remove)
        self.root = self.work.folder("root")
        self.work.folder("root/etc")
        (self.root / "etc/godwit.conf").write_text(
            f'helper = "{self.work.helper}"\nagent = "{self.work.agent}"\n')
        self.virsh = self.virsh_on(self.root)
        self.guest = Guest(self.work)

    def virsh_on(self, root):
        return Virsh(f"godwit:///embed?root={root}", environment={"LIBVIRT_DRIVER_DIR": str(self.work.driver)})

    def qemu(self):
        return next(process for process in self.work.processes() if process.name.startswith("qemu"))
