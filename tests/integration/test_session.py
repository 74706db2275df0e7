#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The main job as an ordinary user: session daemons, no root, no KVM."""
import os
import unittest

from harness import tap
from harness.case import Case
from harness.guest import Guest, state
from harness.virsh import Virsh
from harness.wait import wait_until


class Session(Case):
    daemons = ["source", "target"]
    session = True

    def setUp(self):
        super().setUp()
        self.virsh = self.source.virsh

    def test_the_guest_runs_as_that_user(self):
        self.running_guest(self.source)
        qemu = next(process for process in self.work.processes() if process.name.startswith("qemu"))
        self.assertEqual(os.stat(f"/proc/{qemu.pid}").st_uid, self.source.user.uid)

    def test_from_define_to_undefine(self):
        guest = Guest(self.work)
        self.virsh("define", guest.file())
        self.virsh("start", "guest")
        guest.wait_ready()
        self.virsh("suspend", "guest")
        self.virsh("resume", "guest")
        self.virsh("shutdown", "guest")
        wait_until(lambda: state(self.virsh, "guest") == ("shut off", "shutdown"), "the guest is off")
        self.virsh("undefine", "guest")

    def test_save_and_restore(self):
        guest = self.running_guest(self.source)
        image = self.work.images / "session.image"
        self.virsh("save", "guest", image)
        self.virsh("restore", image)
        guest.assert_runs_on()
        guest.assert_never_ran_twice()

    def test_managed_save(self):
        guest = self.running_guest(self.source)
        self.virsh("define", guest.file())
        self.virsh("managedsave", "guest")
        self.virsh("start", "guest")
        guest.assert_runs_on()

    def test_live_migration(self):
        guest = self.running_guest(self.source, rate=2000)
        self.virsh("migrate", "guest", self.target.tcp_uri, "--live")
        self.assertEqual(state(self.target.virsh, "guest"), ("running", "migrated"))
        self.assertIsNone(state(self.virsh, "guest"))
        guest.assert_runs_on()
        guest.assert_never_ran_twice()

    def test_a_network_of_the_host_is_not_for_users(self):
        guest = Guest(self.work, devices="<interface type='bridge'><source bridge='br0'/></interface>")
        self.assertRegex(self.virsh.fails("create", guest.file()), "(?i)privilege|permi|root|bridge")

    @unittest.skipUnless(os.geteuid() == 0, "needs root to become another user")
    def test_the_system_uri_is_not_the_users(self):
        virsh = Virsh(self.source.uri.replace("/session", "/system"), self.source.user, self.virsh.environment)
        self.assertIn("session", virsh.fails("list"))


if __name__ == "__main__":
    tap.main()
