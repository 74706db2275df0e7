# SPDX-License-Identifier: LGPL-2.1-or-later
"""Godwit and the stock driver take each other's guests and images."""
from lab.case import Case
from test_migration import Moving

IMAGE = "/var/tmp/interoperation.image"


class Images(Case):
    """On one host, whose libvirtd changes its driver."""

    def hand_over(self, writer, reader, **options):
        self.source.use_driver(writer)
        guest, console = self.running_guest(self.source, **options)
        self.addCleanup(self.source.run, f"rm -f {IMAGE}")
        self.source.virsh("save", guest.name, IMAGE)
        self.source.use_driver(reader)
        self.source.virsh("restore", IMAGE)
        self.assert_runs_on(guest, console)
        self.assert_never_ran_twice(console)

    def test_ours_is_restored_by_stock(self):
        self.hand_over("godwit", "stock")

    def test_stock_one_is_restored_by_us(self):
        self.hand_over("stock", "godwit")

    def test_pv_guests_both_ways(self):
        self.hand_over("godwit", "stock", kind="pv")
        self.source.virsh("destroy", "guest")
        self.hand_over("stock", "godwit", kind="pv")

    def test_running_guests_are_taken_over(self):
        # From the status file: the other driver's record of a domain (libxl's "libvirt-xml") need not be there.
        for first, then in (("godwit", "stock"), ("stock", "godwit")):
            with self.subTest(f"from {first}"):
                self.source.use_driver(first)
                guest, console = self.running_guest(self.source, kind="pv")
                self.source.use_driver(then)
                self.assertEqual(self.state(self.source, guest)[0], "running")
                self.assert_runs_on(guest, console)
                self.addCleanup(self.source.run, f"rm -f {IMAGE}")
                self.source.virsh("save", guest.name, IMAGE)
                self.source.virsh("restore", IMAGE)
                self.assert_runs_on(guest, console)
                self.assert_never_ran_twice(console)
                self.source.virsh("destroy", guest.name)

    def test_hvm_guests_both_ways(self):
        self.hand_over("godwit", "stock", kind="hvm", memory=160)
        self.source.virsh("destroy", "guest")
        self.hand_over("stock", "godwit", kind="hvm", memory=160)


class ToStock(Moving):
    drivers = ("godwit", "stock")

    def test_managed(self):
        self.move("--live")

    def test_a_pv_guest(self):
        self.move(kind="pv")

    def test_a_pv_guest_peer_to_peer(self):
        self.move("--p2p", kind="pv")

    def test_peer_to_peer(self):
        self.move("--live", "--p2p")

    def test_an_hvm_guest(self):
        self.move("--live", kind="hvm", memory=160)


class FromStock(ToStock):
    drivers = ("stock", "godwit")
