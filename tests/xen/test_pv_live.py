# SPDX-License-Identifier: LGPL-2.1-or-later
"""PV guests that move while they run: Xen finds the pages they write only if it is built with shadow paging."""
from test_migration import TARGET, Moving


class WithoutShadowPaging(Moving):
    """On the distribution's hypervisor."""

    def test_it_is_refused_by_name(self):
        guest, console = self.running_guest(self.source, kind="pv")
        for how in ([], ["--p2p"]):
            error = self.source.virsh_fails("migrate", "--live", *how, guest.name, TARGET)
            self.assertIn("built without shadow paging", error)
        self.assertEqual(self.state(self.source, guest)[0], "running")
        self.assert_runs_on(guest, console)
        with self.subTest("one that stands still has no pages to find"):
            self.source.virsh("suspend", guest.name)
            there = self.console(self.destination, guest)
            self.source.virsh("migrate", "--live", guest.name, TARGET)
            self.assertEqual(self.state(self.destination, guest)[0], "paused")
            self.destination.virsh("resume", guest.name)
            self.assert_runs_on(guest, there)
            self.assert_never_ran_twice(console, there)
