# SPDX-License-Identifier: LGPL-2.1-or-later
"""PV guests that move while they run: Xen finds the pages they write only if it is built with shadow paging."""
from lab.guest import wait_until
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
            self.move_standing(guest, console)


class PvLive(Moving):
    hypervisor = "shadow"

    def test_live_and_back(self):
        guest, _, there = self.move("--live", kind="pv")
        back = self.console(self.source, guest)
        self.destination.virsh("migrate", "--live", guest.name, "xen+tcp://xen1/system")
        self.assert_runs_on(guest, back)
        self.assert_never_ran_twice(there, back)

    def test_peer_to_peer(self):
        self.move("--live", "--p2p", kind="pv")

    def test_abort_leaves_the_guest_running(self):
        guest, console = self.begin(kind="pv")
        self.source.virsh("domjobabort", guest.name)
        said = self.assert_failed_and_runs_on(guest, console)
        self.assertIn("abort", said)
        wait_until(lambda: self.destination.run("xl list | wc -l") == "2", "the destination has cleaned up")

    def test_a_destination_that_fails_at_the_end(self):
        self.fail_at_the_end("")
        guest, console = self.begin(kind="pv")
        said = self.assert_failed_and_runs_on(guest, console)
        self.assertIn("helper", said)
        wait_until(lambda: self.destination.run("xl list | wc -l") == "2", "the destination has cleaned up")


class PvLiveToStock(Moving):
    drivers = ("godwit", "stock")
    hypervisor = "shadow"

    def test_managed(self):
        self.move("--live", kind="pv")

    def test_peer_to_peer(self):
        self.move("--live", "--p2p", kind="pv")


class PvLiveFromStock(PvLiveToStock):
    drivers = ("stock", "godwit")
